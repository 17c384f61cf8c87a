# Installs a .deb in the copy, uses it and removes it. A VMM is waited for at gpu.sock in FOLDER.

mkdir -p "$root$shared"
mount --bind "$shared" "$root$shared"

files() {
    # dpkg's, ldconfig's and systemd's own books are theirs to keep.
    (cd "$root" && find . -xdev \( -path ./var/lib/dpkg -o -path ./var/cache/ldconfig \
        -o -path ./var/log -o -path ./run -o -path ./tmp \) -prune -o -print | sort)
}

files >"$fresh/before"
step install
inside dpkg -i /tmp/coherd.deb
step run
inside coherd --version
inside coherd --print-capabilities | grep -q '"type": "gpu"'
inside coherd --check-config --config /etc/coherd/coherd.toml
step units
inside systemd-analyze verify --man=no \
    coherd@vm.socket coherd@vm.service coherd.slice 2>&1 | tee "$fresh/complaints"
test ! -s "$fresh/complaints"
inside getent group kvm render >/dev/null
step documents
for file in man/man1/coherd.1.gz man/man5/coherd.toml.5.gz bash-completion/completions/coherd \
    fish/vendor_completions.d/coherd.fish zsh/vendor-completions/_coherd \
    doc/coherd/copyright doc/coherd/third-party-licences.txt doc/coherd/coherd.cdx.json \
    qemu/vhost-user/60-coherd.json; do
    ls "$root/usr/share/$file"
done
step socket activation
inside systemd-socket-activate --listen="$shared/gpu.sock" --fdname=vhost-user \
    coherd --config /etc/coherd/coherd.toml
rm "$shared/gpu.sock"
step remove
inside dpkg -r coherd
files >"$fresh/removed"
left=$(comm -13 "$fresh/before" "$fresh/removed" | grep -v '^./etc/coherd\(/coherd.toml\)\?$' || :)
if [ -n "$left" ]; then
    echo "left behind: $left"
    exit 1
fi
step purge
inside dpkg -P coherd
files >"$fresh/purged"
# Groups stay, as files on the disk may belong to them.
diff "$fresh/before" "$fresh/purged"
step done
