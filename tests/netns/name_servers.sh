#!/bin/bash
# A tunnel with name servers where a real program keeps them. Run in new mount, network and PID namespaces.
#     name_servers.sh openresolv|resolvconf|systemd-resolved UNPACKED_PACKAGE SOURCE_TREE PYTHON COMMAND
# The package is laid over this system's folders. COMMAND up|down is run on wgdns.conf; what stands before, meanwhile and
# after is printed, each below a line of its own.
set -eu
kind=$1 package=$2 source=$3 python=$4 command=$5

mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay -o "lowerdir=$package/etc:/etc,upperdir=/mnt/upper,workdir=/mnt/work" overlay /etc
mount -t overlay -o "lowerdir=$package/lib:/usr/lib" overlay /usr/lib
mount -t overlay -o "lowerdir=$package/usr/share:/usr/share" overlay /usr/share
mount -t tmpfs -o mode=755 tmpfs /run
export PATH=/mnt/bin:$package/sbin:$package/usr/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin WG_QUICK_USERSPACE_IMPLEMENTATION=wireguard-go
pywg() { PYTHONPATH=$source "$python" -m pywg "$@"; }
shown() { cat /etc/resolv.conf; }
forgotten() { :; }
ip link set lo up
rm -f /etc/resolv.conf
printf 'nameserver 192.168.1.1\nsearch lan\n' >/etc/resolv.conf

case $kind in
resolvconf)
    mkdir -p /run/resolvconf/interface
    mv /etc/resolv.conf /run/resolvconf/
    ln -s /run/resolvconf/resolv.conf /etc/resolv.conf
    resolvconf --enable-updates
    resolvconf -a lan0.dhcp </run/resolvconf/resolv.conf
    ;;
systemd-resolved)
    if ! getent passwd systemd-resolve >/dev/null; then
        echo 'systemd-resolve:x:994:994::/:/usr/sbin/nologin' >>/etc/passwd
        echo 'systemd-resolve:x:994:' >>/etc/group
    fi
    mkdir -p /run/dbus /run/systemd/resolve /mnt/bin
    ln -s "$package/usr/bin/resolvectl" /mnt/bin/resolvconf  # as the package has it
    chown systemd-resolve: /run/systemd/resolve
    dbus-daemon --system --fork --nopidfile
    rm /etc/resolv.conf
    ln -s /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
    /lib/systemd/systemd-resolved >/mnt/log 2>&1 &
    until resolvectl dns >/dev/null 2>&1; do kill -0 $! || { cat /mnt/log; exit 1; }; done
    shown() { resolvectl dns | grep -v '^Global'; resolvectl domain | grep -v '^Global'; } 2>/dev/null
    forgotten() { while resolvectl dns 2>/dev/null | grep -q wgdns; do sleep 0.05; done; }  # it hears of the link's end
    ;;
esac

umask 077
mkdir -p /etc/wireguard
key=$(wg genkey)
printf '[Interface]\nPrivateKey = %s\nAddress = 10.99.0.1/24\nDNS = 10.99.0.53, fd00::53, corp.example\n' "$key" \
    >/etc/wireguard/wgdns.conf
echo "== before"
shown || true
echo "== up"
"$command" up wgdns >/mnt/said 2>&1 || { cat /mnt/said; exit 1; }
shown
echo "== down"
"$command" down wgdns >/mnt/said 2>&1 || { cat /mnt/said; exit 1; }
forgotten
shown || true
