# Installs a .deb in a fresh copy of the lab, uses it and removes it: install.sh DEB FOLDER
# In FOLDER, which host and copy share, a VMM is waited for at gpu.sock.
set -eu
deb=$1
shared=$2

fresh=/tmp/fresh
mkdir "$fresh"
mount -t tmpfs tmpfs "$fresh"
mkdir "$fresh/upper" "$fresh/work" "$fresh/root"
root=$fresh/root
mount -t overlay overlay -o "lowerdir=/lab-root,upperdir=$fresh/upper,workdir=$fresh/work" "$root"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
mkdir -p "$root$shared"
mount --bind "$shared" "$root$shared"
cp "$deb" "$root/tmp/coherd.deb"

files() {
    # dpkg's and ldconfig's own books are theirs to keep.
    (cd "$root" && find . -xdev \( -path ./var/lib/dpkg -o -path ./var/cache/ldconfig \
        -o -path ./var/log \) -prune -o -print | sort)
}

step() { echo "--- $*"; }

files >"$fresh/before"
step install
chroot "$root" dpkg -i /tmp/coherd.deb
step run
chroot "$root" coherd --version
chroot "$root" coherd --print-capabilities | grep -q '"type": "gpu"'
chroot "$root" coherd --check-config --config /etc/coherd/coherd.toml
step units
chroot "$root" systemd-analyze verify --man=no \
    coherd@vm.socket coherd@vm.service coherd.slice 2>&1 | tee "$fresh/complaints"
test ! -s "$fresh/complaints"
chroot "$root" getent group kvm render >/dev/null
step documents
for file in man/man1/coherd.1.gz man/man5/coherd.toml.5.gz bash-completion/completions/coherd \
    fish/vendor_completions.d/coherd.fish zsh/vendor-completions/_coherd \
    doc/coherd/copyright doc/coherd/third-party-licences.txt doc/coherd/coherd.cdx.json \
    qemu/vhost-user/60-coherd.json; do
    ls "$root/usr/share/$file"
done
step socket activation
chroot "$root" systemd-socket-activate --listen="$shared/gpu.sock" --fdname=vhost-user \
    coherd --config /etc/coherd/coherd.toml --renderer 2d
rm "$shared/gpu.sock"
step remove
chroot "$root" dpkg -r coherd
files >"$fresh/removed"
left=$(comm -13 "$fresh/before" "$fresh/removed" | grep -v '^./etc/coherd\(/coherd.toml\)\?$' || :)
if [ -n "$left" ]; then
    echo "left behind: $left"
    exit 1
fi
step purge
chroot "$root" dpkg -P coherd
files >"$fresh/purged"
# Groups stay, as files on the disk may belong to them.
diff "$fresh/before" "$fresh/purged"
step done
