#!/bin/bash
# A systemd of its own, as the first process of its own namespaces: what it mounts, kills
# or writes outside of WORK is gone with it.
#
#   under_systemd.sh CGROUP WORK ROOT PYTHON PACKAGES
#
# CGROUP: a new folder of cgroup2.  ROOT: this checkout.  PYTHON: prefix of an interpreter,
# which a service sees as /opt/python.  PACKAGES: its site-packages.
# Units and graphs are those in WORK/units and WORK/graphs/NAME/graph.toml.
set -e
if [ "$6" != inside ]; then
    mkdir -p "$1"
    echo $$ > "$1/cgroup.procs"
    exec unshare --pid --fork --kill-child --mount --uts --ipc --net --cgroup \
        bash "$0" "$@" inside
fi
work=$2 root=$3 python=$4 packages=$5
units=/usr/lib/systemd/system
mount --make-rprivate /
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
umount -l /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup

over() { # a folder that is written to in memory only
    mkdir -p "$upper/$1/up" "$upper/$1/work"
    mount -t overlay overlay \
        -o "lowerdir=$2,upperdir=$upper/$1/up,workdir=$upper/$1/work" "$3"
}
upper=$work/upper
mkdir -p "$upper"
mount -t tmpfs tmpfs "$upper"
for folder in etc var opt; do over $folder /$folder /$folder; done

mkdir "$upper/units" "$upper/none"
for unit in basic sysinit sockets timers paths slices shutdown umount final exit \
    local-fs local-fs-pre swap network multi-user; do
    cp -L "$units/$unit.target" "$upper/units/"
done
cp -L "$units"/-.slice "$units"/system.slice "$units"/systemd-exit.service \
    "$units"/systemd-journald.s* "$units"/systemd-journald-dev-log.socket \
    "$upper/units/" 2> /dev/null || true
mount --bind "$upper/units" "$units"
mount --bind "$upper/none" /usr/lib/systemd/system-generators
rm -rf /etc/systemd/system/*
echo 0123456789abcdef0123456789abcdef > /etc/machine-id

mkdir -p /opt/python /opt/source /opt/streamproc/bin
mount --bind "$python" /opt/python
mount --bind "$root" /opt/source
version=$(/opt/python/bin/python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
own=/opt/streamproc/lib/$version/site-packages
mkdir -p "$own"
over packages "$packages" "$own"
printf '/opt/source\n/opt/source/kernels\n' > "$own/of_this_test.pth"
printf 'home = /opt/python/bin\ninclude-system-site-packages = false\n' \
    > /opt/streamproc/pyvenv.cfg
ln -sf /opt/python/bin/python3 /opt/streamproc/bin/python
printf '#!/opt/streamproc/bin/python\nimport sys\nfrom streamproc.cli import main\nsys.exit(main())\n' \
    > /opt/streamproc/bin/streamproc
chmod 755 /opt/streamproc/bin/streamproc
mkdir -p /etc/streamproc
cp -r "$work"/graphs/* /etc/streamproc/
cp "$work"/units/* /etc/systemd/system/
chmod -R a+rX /etc/streamproc /etc/systemd/system

mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock
mount -t tmpfs tmpfs /dev/shm
ip link set lo up
exec env -i PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin container=other \
    /usr/lib/systemd/systemd --system --unit=basic.target --log-target=null --show-status=0
