# Sourced by the demos: what they share. Every sentence that a demo says is checked.

if [ "$(id -u)" != 0 ]; then
    say "error: the agents mount file systems; hint: run this as root"
    exit 1
fi

dir=$(mktemp -d "${TMPDIR:-/tmp}/skep-demo.XXXXXX")
declare -A pids=()
checked=0
claimed=0

cleanup() {
    local status=$? pid point end
    trap - EXIT INT TERM
    exec 7>&- 2>/dev/null || true
    # `skep dev` ends what it started, once it is asked to.
    if [ -n "${pids[dev]:-}" ] && kill -INT "${pids[dev]}" 2>/dev/null; then
        end=$((SECONDS + 20))
        while kill -0 "${pids[dev]}" 2>/dev/null && [ "$SECONDS" -lt "$end" ]; do sleep 0.05; done
    fi
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    while read -r point; do umount -l "$point" 2>/dev/null || true; done \
        < <(awk -v d="$dir/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sort -r)
    if [ "$status" != 0 ]; then
        say ""
        say "the demo failed after $checked of $claimed checks; last lines of the logs:"
        tail -n 8 "$dir"/*.log "$dir"/c/*/log >&2 2>/dev/null || true
    fi
    rm -rf "$dir"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

skep() { "$skep_binary" "$@"; }
head_line() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || head_line() { printf '\n%s\n' "$*"; }
show() {
    printf '  $ skep %s\n' "${*//$dir\//}"
    skep "$@" </dev/null 2>&1 | sed "s|$dir/||g; s/^/    /"
}
# claim TEXT COMMAND...: says TEXT once COMMAND succeeds; fails after 20 s.
claim() {
    local text=$1 end=$((SECONDS + 20))
    shift
    claimed=$((claimed + 1))
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then
            say "  NOT TRUE: $text"
            exit 1
        fi
        sleep 0.05
    done
    checked=$((checked + 1))
    printf '  ok: %s\n' "$text"
}
equal() { [ "$1" = "$2" ]; }
absent() { [ ! -e "$1" ]; }
ended() { ! kill -0 "$1" 2>/dev/null; }
is_up() { kill -0 "${pids[dev]}" && [ -s "$dir/line" ]; }
at() { # at MEMBER: its socket
    case $1 in
    manager-*) echo "$dir/c/$1/manager.sock" ;;
    *) echo "$dir/c/$1/agent.sock" ;;
    esac
}
agent_is() { skep agent status --agent-socket "$(at "$1")" --format '{{.State}}' | grep -qx "$2"; }

# begin MANAGERS: a cluster with two agents, in c, and the way to it in the environment.
begin() {
    printf '  $ skep dev --managers %s --agents 2 --dir c\n' "$1"
    "$skep_binary" dev --managers "$1" --agents 2 --dir "$dir/c" >"$dir/line" 2>"$dir/dev.log" </dev/null &
    pids[dev]=$!
    claim "all is up, and it printed the line to evaluate" is_up
    sed "s|$dir/||g; s/^/    /" "$dir/line"
    eval "$(cat "$dir/line")"
}
# finish: ends the cluster, and says what was checked.
finish() {
    kill -INT "${pids[dev]}"
    wait "${pids[dev]}" && ended_with=0 || ended_with=$?
    claim "skep dev ended with status 0" equal "$ended_with" 0
    unset "pids[dev]"
    claim "no process is left" bash -c '! ls "$1"/c/*/pid' - "$dir"
    claim "nothing is mounted" bash -c '! grep -qF "$1/" /proc/self/mountinfo' - "$dir"
    printf '\neverything said above was checked: %d of %d\n' "$checked" "$claimed"
}
