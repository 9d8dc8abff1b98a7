#!/bin/bash
# Becomes systemd, PID 1 of a small machine: run in new PID, mount, UTS, IPC and cgroup namespaces. See machine.py.
#     boot.sh EMPTY_DIRECTORY SOURCE_TREE VIRTUAL_ENVIRONMENT UNIT_DIRECTORY
# Its root is a tmpfs. Read-only below it: this system's programs, the source tree and the environment that run pywg,
# which is /usr/local/bin/pywg there. systemd finds no units but those in UNIT_DIRECTORY.
set -eu
root=$1 source=$2 environment=$3 units=$4

mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$root"
cd "$root"
mkdir -p etc/systemd/system etc/wireguard run tmp var/log proc sys dev root home old usr opt/source opt/venv upper work
for directory in bin sbin lib lib64; do
    if [[ -L /$directory ]]; then
        cp -a "/$directory" .
    elif [[ -d /$directory ]]; then
        mkdir "$directory"
        mount --bind -o ro "/$directory" "$directory"
    fi
done
mount --rbind -o ro /usr usr
mount -t overlay -o "lowerdir=/usr/local/bin,upperdir=$root/upper,workdir=$root/work" overlay usr/local/bin
mount --bind -o ro "$source" opt/source
mount --bind -o ro "$environment" opt/venv
cat >usr/local/bin/pywg <<'PY'
#!/opt/venv/bin/python
import sys
sys.path.insert(0, "/opt/source")
from pywg.__main__ import main
sys.exit(main())
PY
chmod 755 usr/local/bin/pywg

mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm dev/net
for node in null zero full random urandom tty net/tun; do
    touch "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mount -t tmpfs -o mode=755 tmpfs run
cp -a /etc/passwd /etc/group /etc/nsswitch.conf /etc/ld.so.cache etc/
if [[ -d /etc/alternatives ]]; then
    cp -a /etc/alternatives etc/
fi
cp -r "$units/." etc/systemd/system/
mkdir etc/systemd/system/sysinit.target.wants
ln -s ../systemd-journald.service etc/systemd/system/sysinit.target.wants/
ln -s /run var/run
chmod 700 etc/wireguard
echo 0123456789abcdef0123456789abcdef >etc/machine-id

pivot_root . old
umount -l /old
exec env -i container=other PATH=/usr/local/bin:/usr/sbin:/usr/bin SYSTEMD_UNIT_PATH=/etc/systemd/system SYSTEMD_GENERATOR_PATH=/nonexistent \
    /lib/systemd/systemd --system --show-status=no --log-target=journal --unit=multi-user.target
