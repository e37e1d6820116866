#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-or-later
# Starts the actors of a plan (pagelab.guest.stage) and waits until the host has had them act; run by init.sh as the
# command.  /etc/actors has a line for each: NAME PLACE MODE CPU ARGUMENTS...  A place is a memory block: that of the
# pages which the first actor there has, or else the next one that is online; one that is to be brought online is taken
# offline first.  Among the arguments, "state" is the file that takes the place on- and offline, and "pid:NAME" the
# process of another actor.

say() { echo "pagelab: $*" > /dev/console; }
die() { say "failed $*"; exit 1; }
words() { # of process $1, from address $2 on, $3 words of 8 bytes, as hexadecimal numbers
    dd if="/proc/$1/mem" bs=8 skip=$(($2 / 8)) count="$3" 2> /dev/null | od -A n -v -t x8
}

. /etc/run.conf
room=$PWD # a tmpfs
cd /sys/devices/system/memory || die "no memory blocks"
pages=$((0x$(cat block_size_bytes) / 4096))
if [ "$FRACTION" != 0 ]; then
    busybox echo "$FRACTION" > /proc/sys/vm/percpu_pagelist_fraction || die "percpu_pagelist_fraction cannot be $FRACTION"
fi

place() { # $1: number of the place, $2: memory block, or nothing; fails if the place is another block
    eval "known=\$place_$1"
    if [ -z "$known" ]; then
        case " $taken " in *" ${2:-none} "*) return 1 ;; esac
        known=$2
        for b in $(cat /out/facts/online); do
            [ -n "$known" ] && break
            case " $taken " in *" $b "*) ;; *) known=$b ;; esac
        done
        eval "place_$1=\$known"
        taken="$taken $known"
        say "place $1 $known"
    fi
    [ -z "$2" ] || [ "$known" = "$2" ]
}

run() { # name, mode, CPU, arguments: starts the program, waits until it is ready
    name=$1 mode=$2 cpu=$3
    shift 3
    /bin/actor "$mode" "$cpu" "$@" &
    pid=$!
    tries=0
    until [ "$(words $pid 0x10000008 1)" = " 0000000000000001" ]; do
        tries=$((tries + 1))
        [ $tries -gt 500 ] && die "actor $name does not get ready"
        usleep 20000
    done
    frames=
    case $mode in
        free | drop | stock) frames=$(words $pid 0x10000400 "$1") ;;
    esac
}

in_place() { # $1: number of the place; fails if a page is in another memory block
    for frame in $frames; do place "$1" $(((0x$frame & 0x7fffffffffffff) / pages)) || return 1; done
}

start() {
    actor=$1 where=$2 what=$3 on=$4
    shift 4
    arguments=
    for argument; do
        case $argument in
            state) place "$where" ""; argument=$PWD/memory$known/state ;;
            online_*) busybox echo offline > memory$known/state || die "memory block $known does not go offline" ;;
            pid:*) eval "argument=\$pid_$(echo "${argument#pid:}" | tr -c 'a-zA-Z0-9\n' _)" ;;
        esac
        arguments="$arguments $argument"
    done
    if [ "$what" = wait ]; then
        # nothing more is run after that, so that its CPU's pcplist stays as the program leaves it
        /bin/actor "$what" "$on" $arguments &
        pid=$!
        say "actor $actor $pid"
        return
    fi
    run "$actor" "$what" "$on" $arguments
    attempts=0
    until in_place "$where"; do
        # the pages have to be in another memory block: take 16 MiB more of this one away for the time being
        kill -9 $pid
        attempts=$((attempts + 1))
        [ $attempts -gt 24 ] && die "no pages of place $where for $actor"
        dd if=/dev/zero of="$room/away.$attempts" bs=1M count=16 2> /dev/null
        run "$actor" "$what" "$on" $arguments
    done
    [ $attempts = 0 ] || rm "$room"/away.*
    eval "pid_$(echo "$actor" | tr -c 'a-zA-Z0-9\n' _)=\$pid"
    started="$started $pid"
    say "actor $actor $pid" $frames
}

start prompter 0 wait "$SHELL_CPU" 0 0
wait $pid # meanwhile the host may set the pcplists up
while read -r line; do start $line; done < /etc/actors
say "acting"
wait $pid # the last one ends when it is told to
kill -9 $started 2> /dev/null
exit 0
