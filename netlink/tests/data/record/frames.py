"""Frames of many kinds, sent into a device."""
import socket,struct,sys,time
def csum(b):
    if len(b)%2: b+=b'\0'
    s=sum(struct.unpack('>%dH'%(len(b)//2),b))
    while s>>16: s=(s&0xffff)+(s>>16)
    return ~s&0xffff
mac=lambda n: bytes([2,0,0,0,0,n])
def eth(t,p,s=1,d=2,dst=None): return (dst or mac(d))+mac(s)+struct.pack('>H',t)+p
ip4=lambda a: socket.inet_aton(a)
ip6=lambda a: socket.inet_pton(socket.AF_INET6,a)
def ipv4(proto,p,src='10.0.0.1',dst='10.0.0.2',tos=0,ttl=64,frag=0,ident=1):
    h=struct.pack('>BBHHHBBH4s4s',0x45,tos,20+len(p),ident,frag,ttl,proto,0,ip4(src),ip4(dst))
    return h[:10]+struct.pack('>H',csum(h))+h[12:]+p
def pseudo4(src,dst,proto,l): return ip4(src)+ip4(dst)+struct.pack('>BBH',0,proto,l)
def udp(sp,dp,p=b'hello'): return struct.pack('>HHHH',sp,dp,8+len(p),0)+p
def tcp(sp,dp,fl=2,src='10.0.0.1',dst='10.0.0.2',p=b''):
    h=struct.pack('>HHIIBBHHH',sp,dp,1,0,0x50,fl,1000,0,0)+p
    c=csum(pseudo4(src,dst,6,len(h))+h)
    return h[:16]+struct.pack('>H',c)+h[18:]
def icmp(t=8,c=0):
    h=struct.pack('>BBHHH',t,c,0,1,1)+b'x'*20
    return h[:2]+struct.pack('>H',csum(h))+h[4:]
def sctp(sp,dp): return struct.pack('>HHII',sp,dp,1,0)+b'\1\0\0\4'
def ipv6(nh,p,src='fd00::1',dst='fd00::2',hl=64,tc=0,fl=0x12345):
    return struct.pack('>IHBB',6<<28|tc<<20|fl,len(p),nh,hl)+ip6(src)+ip6(dst)+p
def c6(nh,p,off,src='fd00::1',dst='fd00::2'):
    c=csum(ip6(src)+ip6(dst)+struct.pack('>II',len(p),nh)+p)
    return p[:off]+struct.pack('>H',c or 0xffff)+p[off+2:]
def udp6(sp,dp,src='fd00::1',dst='fd00::2',p=b'hello'): return c6(17,udp(sp,dp,p),6,src,dst)
def icmp6(t,body,src='fd00::1',dst='fd00::2'): return c6(58,bytes([t,0,0,0])+body,2,src,dst)
def arp(op=1): return struct.pack('>HHBBH',1,0x800,6,4,op)+mac(1)+ip4('10.0.0.1')+bytes(6)+ip4('10.0.0.2')
lse=lambda l,s,ttl=64: struct.pack('>I',l<<12|s<<8|ttl)
def tag(t,tci,rest): return struct.pack('>HH',t,tci)+rest
S={}
def send(dev,f):
    if dev not in S:
        S[dev]=socket.socket(socket.AF_PACKET,socket.SOCK_RAW); S[dev].bind((dev,0))
    if len(f)<60: f=f+bytes(60-len(f))
    S[dev].send(f); time.sleep(0.02)
B=b'\xff'*6
def basics(d,a=1,b=2):
    send(d,eth(0x806,arp(),a,b,B)); send(d,eth(0x806,arp(2),a,b))
    send(d,eth(0x800,ipv4(1,icmp()),a,b)); send(d,eth(0x800,ipv4(1,icmp(3,1)),a,b))
    send(d,eth(0x800,ipv4(17,udp(1000,53)),a,b)); send(d,eth(0x800,ipv4(6,tcp(1001,80)),a,b))
    send(d,eth(0x800,ipv4(6,tcp(1001,80,0x10)),a,b))
    send(d,eth(0x800,ipv4(132,sctp(5,6)),a,b)); send(d,eth(0x800,ipv4(47,b'\0'*8),a,b))
    send(d,eth(0x800,ipv4(17,udp(1000,53,b'y'*24),frag=0x2000),a,b)); send(d,eth(0x800,ipv4(17,b'z'*24,frag=4),a,b))
    send(d,eth(0x86dd,ipv6(17,udp6(1000,53)),a,b))
    send(d,eth(0x86dd,ipv6(58,icmp6(128,b'\0\1\0\1')),a,b))
    send(d,eth(0x86dd,ipv6(58,icmp6(135,bytes(4)+ip6('fd00::2')+b'\1\1'+mac(a),dst='ff02::1:ff00:2'),dst='ff02::1:ff00:2',hl=255),a,b,b'\x33\x33\xff\0\0\2'))
    send(d,eth(0x86dd,ipv6(58,icmp6(136,b'\x60\0\0\0'+ip6('fd00::1')+b'\2\1'+mac(a)),hl=255),a,b))
    send(d,eth(0x86dd,ipv6(0,b'\x3c\0\1\4\0\0\0\0'+b'\x11\0\1\4\0\0\0\0'+udp6(1,2)),a,b))
    send(d,eth(0x86dd,ipv6(44,b'\x11\0\0\1\0\0\0\1'+udp6(1,2)),a,b)); send(d,eth(0x86dd,ipv6(44,b'\x11\0\0\x20\0\0\0\1'+b'q'*24),a,b))
    send(d,mac(b)+mac(a)+struct.pack('>H',38)+b'\x42\x42\3'+bytes(35))
    send(d,mac(b)+mac(a)+struct.pack('>H',50)+b'\xaa\xaa\3\0\0\0\x08\0'+ipv4(17,udp(3,4)))
    send(d,eth(0x88cc,b'\0'*46,a,b)); send(d,eth(0x8035,arp(3),a,b,B))
    i=struct.pack('>H',0x800)+ipv4(17,udp(7,8))
    send(d,eth(0x8100,struct.pack('>H',0x6064)+i,a,b)); 
    send(d,eth(0x88a8,struct.pack('>HHH',0x00c8,0x8100,0x0064)+i,a,b))
    send(d,eth(0x8847,lse(100,1)+ipv4(17,udp(1,2)),a,b)); send(d,eth(0x8847,lse(100,0)+lse(200,1)+ipv4(17,udp(1,2)),a,b))
    send(d,eth(0x8847,lse(100,0)+lse(200,0)+lse(300,1)+ipv4(17,udp(1,2)),a,b)); send(d,eth(0x8848,lse(1,0)+lse(2,0)+lse(3,0)+lse(4,1),a,b))
    send(d,eth(0x894f,b'\x0f\xc6\1\3\0\1\2\xff'+struct.pack('>IIII',1,2,3,4)+eth(0x800,ipv4(17,udp(1,2))),a,b))
def underlay(dev,m_local,proto,p): send(dev,m_local+mac(99)+b'\x08\0'+ipv4(proto,p,'10.1.0.2','10.1.0.1'))
def tunnels(dev,m):
    inner=[eth(0x800,ipv4(17,udp(1,2)),5,6),eth(0x806,arp(),5,6,B),eth(0x86dd,ipv6(17,udp6(9,9)),5,6)]
    for i in inner:
        underlay(dev,m,17,udp(5555,4789,b'\x08\0\0\0'+struct.pack('>I',100<<8)+i))
        underlay(dev,m,17,udp(5555,4790,b'\x88\0\2\0'+struct.pack('>I',101<<8)+i))   # gbp
        opts=struct.pack('>HBB',0x0102,0x80,1)+b'\xde\xad\xbe\xef'+struct.pack('>HBB',0xffff,1,2)+b'ABCDEFGH'
        underlay(dev,m,17,udp(5556,6081,bytes([len(opts)//4,0x40])+b'\x65\x58'+struct.pack('>I',102<<8)+opts+i))
        underlay(dev,m,17,udp(5556,6081,bytes([0,0x80])+b'\x65\x58'+struct.pack('>I',102<<8)+i))
        underlay(dev,m,47,b'\x20\0\x65\x58'+struct.pack('>I',103)+i)
        # erspan v1 and v2
        underlay(dev,m,47,b'\x10\0\x88\xbe'+struct.pack('>I',1)+struct.pack('>HHI',0x1000,0x0068,0x12345)+i)
        underlay(dev,m,47,b'\x10\0\x22\xeb'+struct.pack('>I',1)+struct.pack('>HHIHH',0x2000,0x0068,0x1234,0,0x02d8)+i)
        q=udp6(5555,4789,'fd01::2','fd01::1',b'\x08\0\0\0'+struct.pack('>I',100<<8)+i)
        send(dev,m+mac(99)+b'\x86\xdd'+ipv6(17,q,'fd01::2','fd01::1'))
