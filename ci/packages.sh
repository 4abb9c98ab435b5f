# Gets things from the distribution's archive (sourced; uses CACHE, say, die).

# apt_update: makes sure package lists are there. `apt_update fresh` fetches them anew.
apt_update() {
    if [ "${1:-}" != fresh ] && compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null; then return; fi
    say "fetching package lists"
    apt-get update -qq >>"$CACHE/apt.log" 2>&1 || say "apt-get update had trouble, see $CACHE/apt.log"
}

# is_there PATH-OR-COMMAND
is_there() {
    case $1 in
        /*) [ -e "$1" ] ;;
        *) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
    esac
}

# need PATH-OR-COMMAND=PACKAGE...: installs the packages whose file or command is missing.
need() {
    local pair want=()
    for pair in "$@"; do
        is_there "${pair%%=*}" || want+=("${pair#*=}")
    done
    [ ${#want[@]} -gt 0 ] || return 0
    mkdir -p "$CACHE"
    (
        flock 9
        apt_update
        say "installing ${want[*]}"
        # Packages must not start their daemons on this machine because we want their programs.
        guard=/usr/sbin/policy-rc.d
        if [ ! -e $guard ]; then
            printf '#!/bin/sh\nexit 101\n' >$guard && chmod +x $guard
            trap 'rm -f $guard' EXIT
        fi
        export DEBIAN_FRONTEND=noninteractive
        install=(apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "${want[@]}")
        "${install[@]}" >>"$CACHE/apt.log" 2>&1 ||
            { apt_update fresh; "${install[@]}" >>"$CACHE/apt.log" 2>&1; }
    ) 9>"$CACHE/apt.lock" || die "could not install ${want[*]}: see $CACHE/apt.log"
    for pair in "$@"; do
        is_there "${pair%%=*}" || die "${pair#*=} is installed, and ${pair%%=*} is not in it"
    done
}

# Package lists of our own, for what the machine's sources do not list; the machine's stay as they are.
own_lists() {
    OWN=(-o "Dir::Etc::SourceList=$CACHE/apt/sources.list" -o Dir::Etc::SourceParts=-
         -o "Dir::State::Lists=$CACHE/apt/lists" -o "Dir::Cache=$CACHE/apt/cache")
    mkdir -p "$CACHE"/apt/{lists,cache}/partial "$CACHE/apt/cache/archives/partial"
    cat >"$CACHE/apt/sources.list" <<'L'
deb http://deb.debian.org/debian-security bookworm-security main
deb http://deb.debian.org/debian bookworm main
deb http://deb.debian.org/debian bookworm-backports main
L
    apt-get "${OWN[@]}" -o APT::Sandbox::User=root update -qq >>"$CACHE/apt.log" 2>&1
}

# newest REGEX [APT-OPTION...]: the package of that name with the highest version in its name.
newest() {
    local re=$1; shift
    apt-cache "$@" search --names-only "$re" | awk '{print $1}' | sort -V | tail -1
}

# unpacked REGEX DIR: unpacks the newest package that matches under DIR, once. It is not installed.
unpacked() {
    local re=$1 dir=$2
    [ -e "$dir/.complete" ] && return
    (
        flock 9
        [ -e "$dir/.complete" ] && exit 0
        apt_update
        for try in lists fresh own; do
            OWN=()
            case $try in
                fresh) apt_update fresh ;;
                own) say "looking in bookworm-security and bookworm-backports"; own_lists ;;
            esac
            pkg=$(newest "$re" "${OWN[@]}")
            [ -n "$pkg" ] || continue
            say "fetching $pkg"
            rm -rf "$dir" "$dir.deb" && mkdir -p "$dir" "$dir.deb" && cd "$dir.deb" || exit 1
            apt-get "${OWN[@]}" download -o APT::Sandbox::User=root -qq "$pkg" >>"$CACHE/apt.log" 2>&1 || continue
            dpkg-deb -x ./*.deb "$dir" && rm -rf "$dir.deb" && echo "$pkg" >"$dir/.complete" && exit 0
        done
        say "no package matching $re could be fetched from the archives this machine reaches:"
        say "neither its own apt sources, nor bookworm-security and bookworm-backports at deb.debian.org"
        exit 1
    ) 9>"$CACHE/unpack.lock" || die "no kernel, no lab: see $CACHE/apt.log"
}

# need_rust: makes sure of a Rust that is new enough; the distribution's may not be.
need_rust() {
    export PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
    local want have
    want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    have=$(cargo --version 2>/dev/null | awk '{print $2}')
    if [ -z "$have" ] || [ "$(printf '%s\n' "$want" "$have" | sort -V | head -1)" != "$want" ]; then
        die "needs Rust $want or later (here: ${have:-none}); get it with
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y"
    fi
}
