# Boots the copy, with systemd as process 1 of a pid namespace, has the units of an installed .deb
# serve a VMM, and removes it. The VMM is waited for at units/vm.sock in FOLDER. Ends with status 77
# where a system cannot be booted, after a line that says why.

impossible() {
    echo "impossible: $*"
    exit 77
}

# systemd wants a tree of groups for itself.
cgroups=$fresh/cgroups
mkdir "$cgroups"
mount -t cgroup2 cgroup2 "$cgroups" || impossible "no cgroup v2 can be mounted"
group=$cgroups/coherd-boot-$$
mkdir "$group" 2>/dev/null || impossible "no cgroup can be made"

step install
inside dpkg -i /tmp/coherd.deb
# As the README says for hosts without a GPU.
dropins=$root/etc/systemd/system/coherd@.service.d
mkdir -p "$dropins"
cp "$root/usr/share/doc/coherd/lavapipe.conf" "$dropins/"

step boot
mkdir -p "$shared/units"
export root shared group
# shellcheck disable=SC2016 # The inner shells expand it.
setpriv --pdeathsig KILL sh -c '
    echo $$ >"$group/cgroup.procs"
    exec unshare --kill-child --fork --pid --cgroup --uts --ipc \
        --mount --propagation private sh -ec "$1"' boot '
    mount -t proc proc "$root/proc"
    # Read-only, and so without udev.
    mount --bind /sys "$root/sys"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    mount -o remount,bind,ro "$root/sys"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for node in full null random tty urandom zero; do
        touch "$root/dev/$node"
        mount --bind "/dev/$node" "$root/dev/$node"
    done
    mkdir "$root/dev/pts" "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    mount -t tmpfs -o mode=755 tmpfs "$root/run"
    mkdir "$root/run/coherd"
    mount --bind "$shared/units" "$root/run/coherd"
    cd "$root"
    pivot_root . mnt
    umount -l /mnt
    exec env -i PATH="$PATH" container=coherd-test /usr/lib/systemd/systemd \
        --unit=basic.target --show-status=no --log-target=journal --log-level=info
' &
outer=$!

# The first process of the namespace, and a program beside it.
first() { cat "/proc/$outer/task/$outer/children" 2>/dev/null | tr -d ' '; }
booted() { nsenter --target "$(first)" --mount --uts --ipc --pid --cgroup --root --wd "$@"; }

# Until a command succeeds, for two minutes.
until_it() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 600 ] || ! kill -0 "$outer"; then
            echo "never: $*"
            return 1
        fi
        sleep 0.2
    done
}

explain() {
    status=$?
    if [ "$status" != 0 ]; then
        booted journalctl --no-pager --lines=60 || :
    fi
    kill -KILL "$(first)" 2>/dev/null || :
    wait "$outer" || :
    find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || :
    exit "$status"
}
trap explain EXIT

has_first() { test -n "$(first)"; }
until_it has_first
until_it booted systemctl is-active basic.target
booted systemctl --version | head -n 1
booted systemctl is-system-running || :

step start the socket
booted systemctl start coherd@vm.socket
booted systemctl is-active coherd@vm.socket
if booted systemctl is-active coherd@vm.service; then
    echo "it runs although nobody wants it"
    exit 1
fi

step the service of a VMM
until_it booted systemctl is-active coherd@vm.service
main=$(booted systemctl show --property=MainPID --value coherd@vm.service)
booted systemctl status --no-pager --lines=20 coherd@vm.service
for line in 'Seccomp:	2' 'NoNewPrivs:	1' 'CapEff:	0000000000000000'; do
    booted grep -x "$line" "/proc/$main/status"
done
user=$(booted stat -c %u "/proc/$main")
echo "it runs as user $user"
test "$user" -ge 61184
serves() {
    booted coherd ctl metrics --control-socket /run/coherd/vm/control | grep -x 'coherd_vmm_connected 1'
}
until_it serves

step the end of the VMM
ended() { ! booted systemctl is-active coherd@vm.service; }
until_it ended
booted journalctl --no-pager --output=cat --unit=coherd@vm.service
if booted journalctl --output=cat --unit=coherd@vm.service | grep ' WARN ' | grep -v ' no GPU: '; then
    echo "it misses something behind systemd's walls"
    exit 1
fi
if booted systemctl is-failed coherd@vm.service; then
    exit 1
fi
booted systemctl is-active coherd@vm.socket

step remove
booted dpkg -r coherd
if booted systemctl is-active coherd@vm.socket; then
    echo "its socket is left"
    exit 1
fi
test ! -e "$shared/units/vm.sock"

step power off
booted systemctl poweroff --force
until_it test ! -e "/proc/$outer/ns"
step done
