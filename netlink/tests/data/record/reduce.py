#!/usr/bin/env python3
"""reduce.py IN.pcap OUT.pcap: keeps of a capture of nlmon what is of the OVS families and of a form not seen before.

One message a frame, behind the announcements of the families. Two kinds of requests that ovs-dpctl 3.1 gets wrong, and
the kernel refuses, are left out: drop (number 25, which is psample) and set(tunnel(...)) written as set_masked.
"""
import struct,sys,re
src,dst=sys.argv[1:]
d=open(src,'rb').read()
end='<' if d[:4]==b'\xd4\xc3\xb2\xa1' else '>'
assert struct.unpack(end+'I',d[20:24])[0]==253
o=24; fam={}; out=[]; seen={}; stats={}
def attrs(b):
    r=[];i=0
    while i+4<=len(b):
        l,k=struct.unpack('<HH',b[i:i+4])
        if l<4 or i+l>len(b): return None
        r.append((k&0x3fff,b[i+4:i+l])); i+=(l+3)&~3
    return r if i>=len(b) else None
def shape(b,depth=0):
    a=attrs(b)
    if a is None or depth>8: return None
    return tuple((k,len(v),shape(v,depth+1) if len(v)>=4 and all(k2<40 for k2,_ in (attrs(v) or [(99,b'')])) else None) for k,v in a)
n=0
while o+16<=len(d):
    ts,us,cl,ol=struct.unpack(end+'IIII',d[o:o+16]); p=d[o+16:o+16+cl]; o+=16+cl
    if cl<16 or cl!=ol: continue
    ptype,=struct.unpack('>H',p[:2]); proto,=struct.unpack('>H',p[14:16])
    if proto!=16: continue
    b=p[16:]; i=0
    while i+16<=len(b):
        l,t,f,s,pid=struct.unpack('<IHHII',b[i:i+16])
        if l<16 or i+l>len(b): break
        m=b[i:i+l]; i+=(l+3)&~3
        if t==16:
            a=attrs(m[20:]) or []
            dd=dict(a)
            if 1 in dd and 2 in dd and m[16]==1 and len(dd[1])==2:
                name=dd[2].rstrip(b'\0').decode()
                if name.startswith('ovs_') and name not in fam.values():
                    fam[struct.unpack('<H',dd[1])[0]]=name; out.append((ts,us,p[:16],m))
            continue
        if t not in fam: continue
        if bytes.fromhex('0c0002000800190000000000') in m: continue
        if re.search(rb'.[\x00\x01]\x0b\x00.[\x00\x01]\x10\x00',m[24:],re.S): continue
        n+=1
        name=fam[t]; cmd=m[16]
        body=m[24:]
        if name=='ovs_packet':
            # shape without the packet itself
            a=attrs(body) or []
            sh=tuple((k,0 if k==1 else len(v),None if k==1 else shape(v)) for k,v in a)
        else: sh=shape(body)
        top=attrs(body) or []
        nests={'ovs_flow':(1,2,7),'ovs_packet':(2,3,5)}.get(name,())
        req=f&1
        pieces=[(name,cmd,req,f&0x700 if req else 0,tuple(k for k,_ in top))]
        pieces+=[(name,req,k,shape(v)) for k,v in top if k in nests]
        if not nests: pieces=[(name,cmd,req,sh)]
        if all(k in seen for k in pieces): continue
        for k in pieces: seen[k]=1
        stats[(name,cmd,req)]=stats.get((name,cmd,req),0)+1
        out.append((ts,us,p[:16],m))
with open(dst,'wb') as w:
    w.write(struct.pack('<IHHiIII',0xa1b2c3d4,2,4,0,0,262144,253))
    for k,(ts,us,h,m) in enumerate(out):
        w.write(struct.pack('<IIII',0,k,16+len(m),16+len(m))+h+m)
print(n,len(out),fam); 
for k in sorted(stats): print(k,stats[k])
