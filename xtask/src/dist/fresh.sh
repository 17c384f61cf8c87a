# A fresh copy of the lab, of which nothing is kept, at $root: sourced with DEB FOLDER, before the
# scripts beside this one. Host and copy share FOLDER.
set -eu
deb=$1
shared=$2

fresh=/tmp/fresh
root=$fresh/root
mkdir "$fresh"
mount -t tmpfs tmpfs "$fresh"
mkdir "$fresh/upper" "$fresh/work" "$root"
mount -t overlay overlay -o "lowerdir=/lab-root,upperdir=$fresh/upper,workdir=$fresh/work" "$root"
mount --rbind /proc "$root/proc"
mount --rbind /dev "$root/dev"
cp "$deb" "$root/tmp/coherd.deb"

step() { echo "--- $*"; }

# Runs a program in the copy. Not by chroot, under which the kernel refuses user namespaces.
inside() {
    unshare --mount --propagation private sh -c '
        cd "$1" && pivot_root . mnt && cd / && umount -l /mnt && shift && exec "$@"
    ' inside "$root" "$@"
}
