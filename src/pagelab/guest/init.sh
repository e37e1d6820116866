#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-or-later
# The guest's only process of its own: sets up tracing, brings the hot-added memory online, works it, hands out the files.
# /etc/record.conf (written by guest/initramfs.py) holds the settings of the guest; those of the run come with it, on the
# scratch disk, when it is "ready": QEMU may have saved it there, for runs to come.  Lines "pagelab: ..." on the console
# tell the host how far it is; data goes out as tar archives, one behind another, on the scratch disk.

export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /tmp /run /work /out /root
mount -t tmpfs -o size=2g tmpfs /work
mount -t tmpfs -o size=2g tmpfs /out
mount -t tmpfs tmpfs /tmp
mount -t tracefs tracefs /sys/kernel/tracing
. /etc/record.conf

say() { echo "pagelab: $*"; }
fail() { say "failed $*"; sync; poweroff -f; sleep 60; }

for module in $MODULES; do insmod "/lib/modules/$module" || fail "module $module does not load"; done
mkdir -p /out/facts /out/zoneinfo /out/pagetypeinfo /out/buddyinfo
while read -r key value; do
    path=/proc/sys/$(echo "$key" | tr . /)
    if [ -e "$path" ]; then busybox echo "$value" > "$path"; echo "$key $(cat "$path")" >> /out/facts/sysctl; fi
done < /etc/sysctl.conf

uname -a > /out/uname.txt
cat /proc/cmdline > /out/cmdline.txt
cat /proc/kallsyms > /out/kallsyms.txt

T=/sys/kernel/tracing
tracing=0
mark() { [ $tracing = 0 ] || echo "pagelab: $*" > $T/trace_marker; }
snapshot() {
    mark "snapshot $1"
    cat /proc/zoneinfo > "/out/zoneinfo/$1.txt"
    cat /proc/pagetypeinfo > "/out/pagetypeinfo/$1.txt"
    cat /proc/buddyinfo > "/out/buddyinfo/$1.txt"
    mark "snapshot $1 done"
}

# ---- tracing: buffers and probes are made while all memory is still base memory
echo 0 > $T/tracing_on
echo "$CLOCK" > $T/trace_clock || fail "trace clock $CLOCK is not known to this kernel"
echo 0 > $T/options/overwrite
echo 0 > $T/options/record-cmd
echo "$BUFFER_KB" > $T/buffer_size_kb || fail "no memory for trace buffers of $BUFFER_KB KiB"
: > /out/facts/probes_placed; : > /out/facts/probes_missing; : > /out/facts/events_missing
# All at once is much faster; one by one if the kernel refuses any.
# With CONFIG_X86_KERNEL_IBT the call to ftrace may come behind an endbr64 of 4 bytes.
if busybox cat /etc/probes > $T/kprobe_events 2>/dev/null; then
    sed 's|.*:pagelab/||; s| .*||' /etc/probes > /out/facts/probes_placed
else
    echo > $T/kprobe_events
    while read -r definition; do
        name=${definition#*:pagelab/}; name=${name%% *}
        # not the shell's own echo: that keeps what could not be written, and writes it with the next line
        if busybox echo "$definition" >> $T/kprobe_events 2>/dev/null; then echo "$name"
        elif busybox echo "$definition" | sed 's/+5 /+9 /' >> $T/kprobe_events 2>/dev/null; then echo "$name"
        else echo "$name" >&2; fi
    done < /etc/probes > /out/facts/probes_placed 2> /out/facts/probes_missing
fi
# an event that comes from many places says nothing if one of them is missing
for name in $(sort -u /out/facts/probes_missing); do
    grep -qx "$name" /out/facts/probes_placed || continue
    busybox echo "-:pagelab/$name" >> $T/kprobe_events
    sed -i "/^$name\$/d" /out/facts/probes_placed
done
for event in $EVENTS; do
    busybox echo 1 2>/dev/null > "$T/events/$event/enable" || echo "$event" >> /out/facts/events_missing
done
while read -r name only_if; do
    busybox echo "$only_if" 2>/dev/null > "$T/events/pagelab/$name/filter" || echo "$name" >> /out/facts/probes_missing
done < /etc/probe_filters
[ -d $T/events/pagelab ] && echo 1 > $T/events/pagelab/enable
snapshot 00-boot

# ---- memory: the host plugs it when it reads "ready", or when it has QEMU go on from there
cd /sys/devices/system/memory
before=$(ls -d memory* | wc -l)
block=$((0x$(cat block_size_bytes)))
say "ready block $block"
memory_blocks() { # waits until there are $1 of them
    tries=0
    until [ "$(ls -d memory* | wc -l)" -ge "$1" ]; do
        tries=$((tries + 1)); [ $tries -gt 1200 ] && fail "hot-added memory did not appear"
        usleep 25000
    done
}
memory_blocks $((before + 1))
# tar by itself would read the disk to its end
head -c $RUN_BYTES /dev/vda | tar -xf - -C / || fail "the settings of the run cannot be read"
. /etc/run.conf
memory_blocks $((before + DIMM_BYTES / block))
usleep 100000
blocks=$(for b in memory*; do [ "$(cat $b/state)" = offline ] && echo ${b#memory}; done | sort -n)
say "online" $blocks
sync
echo 1 > $T/tracing_on
tracing=1
for b in $blocks; do
    mark "online $b"
    busybox echo "$ONLINE" > memory$b/state || fail "memory block $b does not go online"
    echo "$b" >> /out/facts/online
done
snapshot 01-online

# ---- work
# On CPU $1: one run, or with offlining quarter runs until the last block was tried (at most twelve).
built_in() {
    round=0
    while :; do
        /bin/work "$WORKLOAD" $((SEED * 64 + round)) "$1" "$TARGET" || echo "$WORKLOAD $1 $round $?" >> /out/facts/work_failed
        round=$((round + 1))
        [ $round -ge $ROUNDS_LEAST ] && { [ -e /run/offlined ] || [ $round -ge $ROUNDS_MOST ]; } && break
    done
}
offline() {
    n=0
    while [ $n -lt "$OFFLINE" ]; do
        n=$((n + 1))
        usleep 300000
        online=$(for b in $blocks; do [ "$(cat memory$b/state)" = online ] && echo $b; done)
        /bin/work busiest $((block / 4096)) $online
        index=$?
        set -- $online
        [ $# -eq 0 ] && break
        [ $index -lt $# ] && shift $index
        b=$1
        mark "offline $b"
        start=$(cut -d' ' -f1 /proc/uptime)
        timeout 40 sh -c "busybox echo offline > memory$b/state" 2> /run/why
        status=$?
        end=$(cut -d' ' -f1 /proc/uptime)
        mark "offline $b done"
        echo "$b $status $start $end $(tr '\n' ' ' < /run/why)" >> /out/facts/offline
        snapshot "$(printf %02d $((2 * n)))-offline-$n"
        if [ "$ONLINE_AGAIN" = 1 ] && [ "$(cat memory$b/state)" = offline ]; then
            mark "online $b again"
            busybox echo "$ONLINE" > memory$b/state && echo "$b" >> /out/facts/online_again
            snapshot "$(printf %02d $((2 * n + 1)))-online-again-$n"
        fi
    done
}
# $1: what of; $2: the goal; $3: a command that asks for it; $4: a command that says how far it is.
resize() {
    usleep 300000
    mark "$1 $2"
    start=$(cut -d' ' -f1 /proc/uptime)
    $3
    tries=0
    while [ "$($4)" -ne "$2" ] && [ $tries -lt $RESIZE_TRIES ]; do tries=$((tries + 1)); usleep 50000; done
    mark "$1 $2 done"
    echo "$1 $2 $($4) $start $(cut -d' ' -f1 /proc/uptime)" >> /out/facts/contig
}
# Huge pages of 1 GiB are allocated, where there is room for one, and given back.
nr_hugepages=/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages
set_gigantic() { busybox echo "$goal" > $nr_hugepages; }
get_gigantic() { cat $nr_hugepages; }
allow_gigantic() {
    [ -e $nr_hugepages ] || fail "this kernel, or the CPU, has no huge pages of 1 GiB"
    [ "$ONLINE" = online_movable ] || return
    busybox echo 1 2> /dev/null > /proc/sys/vm/movable_gigantic_pages ||
        fail "this kernel takes huge pages of 1 GiB from no movable zone: use --zone kernel"
}
gigantic() {
    [ "$GIGANTIC" -gt 0 ] || return
    n=0
    RESIZE_TRIES=0
    while [ $n -lt "$GIGANTIC" ]; do
        n=$((n + 1))
        for goal in 1 0; do resize gigantic $goal set_gigantic get_gigantic; done
    done
}
# The host sets the size of the virtio-mem device when it reads "resize"; what the guest has unplugged counts no more.
set_plugged() { say "resize $goal"; }
get_plugged() { echo $((DIMM_BYTES / 1024 + $(total_kb) - full)); }
total_kb() { sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
virtio_mem() {
    [ "$UNPLUG_KB" -gt 0 ] || return
    RESIZE_TRIES=200
    full=$(total_kb)
    for goal in $((DIMM_BYTES / 1024 - UNPLUG_KB)) $((DIMM_BYTES / 1024)); do
        resize virtio_mem $goal set_plugged get_plugged
    done
}
# All at the same time, while the workload runs.
meanwhile() {
    offline &
    gigantic &
    virtio_mem &
    wait
    : > /run/offlined
}
[ "$GIGANTIC" -eq 0 ] || allow_gigantic
say "work"
if [ $((OFFLINE + GIGANTIC + UNPLUG_KB)) -gt 0 ]; then meanwhile & else : > /run/offlined; fi
if [ -n "$COMMAND" ]; then
    (cd /work && sh -c "$COMMAND" > /out/command.txt 2>&1)
    echo $? > /out/facts/command_status
else
    for cpu in $CPUS; do (cd /work && built_in "$cpu") & done
fi
wait
snapshot 99-end
echo 0 > $T/tracing_on
tracing=0

# ---- hand out
say "extract"
cd $T
cat kprobe_profile > /out/facts/kprobe_profile
cat /proc/vmstat > /out/facts/vmstat
mkdir -p /out/tracing /out/raw
cp --parents per_cpu/cpu*/stats /out/tracing
formats=$(for event in $EVENTS; do echo "events/$event/format"; done)
cp --parents events/header_page events/header_event printk_formats saved_cmdlines trace_clock \
    events/ftrace/*/format events/pagelab/*/format $formats /out/tracing 2>/dev/null
exec 3> /dev/vda
(cd /out && tar -cf - . >&3) || fail "writing to the scratch disk"
# One archive for each CPU: its trace is there twice meanwhile, and there may not be room for all of them twice.
for cpu in per_cpu/cpu*; do
    raw=raw/${cpu##*cpu}
    work extract $cpu/trace_pipe_raw "/out/$raw" || fail "the trace of ${cpu##*/} cannot be read"
    (cd /out && tar -cf - "$raw" >&3) || fail "writing to the scratch disk"
    rm "/out/$raw"
done
exec 3>&-
sync
say "done"
poweroff -f
sleep 60
