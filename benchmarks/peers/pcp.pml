/* SPDX-License-Identifier: GPL-2.0-or-later
 *
 * pcp.pml - Protocol P: Linux (2020) per-CPU page lists versus page isolation.
 *
 * The same steps, under the same labels, as examples/protocol_p.py.  EVERY transition
 * is one labelled step (atomic/d_step) holding one shared access plus the local control
 * flow that follows it, so that the set of reachable states is a tool-independent number.
 *
 * Parameters (spin -D...):
 *   DESIGN  1 ONE-DRAIN  2 REPEATED  3 RFC (high=0 on 0->1)  4 EXPLICIT (v5.11)
 *   NC cpus, NP pages (2 per pageblock), W workers, K operations per worker
 *   NI isolators (isolator j works on block j), SYSCTL 0/1/2 (2: takes no lock)
 *   LOOP    workers never stop (K ignored)
 *   HIGH BATCH  initial pcp.high / pcp.batch;  HIGH2 BATCH2 what sysctl writes
 *   CHK     drain only cpus whose pcp.count reads non-zero (lockless read)
 *   RFC_OUT pcp.high is written after the zone lock is dropped (design 3)
 *   DRAIN_FIRST  only the isolator that saw 0->1 drains (design 3)
 *   TSO     cpu-local stores to pcp.count sit in a store buffer
 *   COARSE  merge lock-protected steps (Lipton); same verdicts, fewer states
 *   OWN     workers 0..OWN-1 start holding page 0..OWN-1 (default: all W of them);
 *           the others start by allocating
 *   INIT_ST initial page states, e.g. {0,0,2,2}: ALLOC for the first OWN pages
 *   ND      a refill may take any MOVABLE page (default: the lowest-numbered)
 *   FAIR    FIFO zone lock and FIFO cpu (irq) token instead of test-and-set ones
 *   NOASSERT  assert nothing, which counts the states of a design that is broken
 *   LIVE    add the ltl formula <>ended (design 2)
 */
#ifndef DESIGN
#define DESIGN 1
#endif
#ifndef NC
#define NC 2
#endif
#ifndef NP
#define NP 2
#endif
#ifndef W
#define W 2
#endif
#ifndef K
#define K 1
#endif
#ifndef OWN
#define OWN W
#endif
#ifndef NI
#define NI 1
#endif
#ifndef SYSCTL
#define SYSCTL 0
#endif
#ifndef HIGH
#define HIGH 3
#endif
#ifndef BATCH
#define BATCH 2
#endif
#ifndef HIGH2
#define HIGH2 2
#endif
#ifndef BATCH2
#define BATCH2 1
#endif
#ifndef INIT_ST
#define INIT_ST {0,0}
#endif
#ifdef NOASSERT
#define assert(x) skip
#endif
#ifdef LOOP
#define MORE true
#else
#define MORE (k < K)
#endif

#define NB     (NP/2)
#define BLK(p) ((p)/2)
#define NONE   255
#define MOV    0
#define ISO    1
/* page states */
#define ALLOC  0	/* owned by a worker, or in a worker's hands */
#define ONPCP  1	/* on some pcp list (or in a cpu's hands, irqs off) */
#define BMOV   2	/* buddy free list MOVABLE */
#define BISO   3	/* buddy free list ISOLATE */

byte st[NP] = INIT_ST;
bit  type[NB];		/* pageblock migratetype */
byte nr;		/* zone->nr_isolate_pageblock */
bit  zlock;		/* zone->lock */
bit  irq[NC];		/* 1: some context on this cpu runs with irqs off */
bit  pend[NC];		/* drain work queued on this cpu */
byte cnt[NC];		/* pcp.count as the cpu itself sees it */
byte high[NC] = HIGH;
byte bat[NC] = BATCH;
byte pl[NC*NP];		/* pcp list: slot 0 = tail, page+1, 0 = empty */
bit  dmutex;		/* pcpu_drain_mutex */
byte zhigh = HIGH, zbat = BATCH;	/* values cached in the zone */
#if DESIGN == 3
byte rd; bit wr, ww;	/* rwsem, writer-preferring */
#endif
#if DESIGN == 4
bit  bhmutex;		/* pcp_batch_high_lock */
#endif
#if DESIGN == 2
bit  ended;
#endif
#ifdef TSO
byte mcnt[NC];		/* pcp.count in memory (what other cpus read) */
#define RCNT(x) mcnt[x]
#define FENCE(x) mcnt[x] = cnt[x]
#else
#define RCNT(x) cnt[x]
#define FENCE(x) skip
#endif
#ifdef FAIR
chan zq = [W+NC+NI] of { byte };	/* who waits for (head: holds) the zone lock */
chan cq[NC] = [W+1] of { byte };	/* who waits for (head: has) the cpu, irqs off */
#define ZUNLOCK		zlock = 0; zq?_
#define IRQFREE(x)	irq[x] = 0; cq[x]?_
#else
#define ZUNLOCK		zlock = 0
#define IRQFREE(x)	irq[x] = 0
#endif
byte j;			/* scratch for list loops; 0 between steps */

#define CPU (_pid % NC)
#define L(x,y) pl[(x)*NP+(y)]

#if NP == 2
#define HASMOV (st[0]==BMOV || st[1]==BMOV)
#define ANYMOV(q) if :: st[0]==BMOV -> q=0 :: st[1]==BMOV -> q=1 fi
#elif NP == 4
#define HASMOV (st[0]==BMOV || st[1]==BMOV || st[2]==BMOV || st[3]==BMOV)
#define ANYMOV(q) if :: st[0]==BMOV -> q=0 :: st[1]==BMOV -> q=1 :: st[2]==BMOV -> q=2 :: st[3]==BMOV -> q=3 fi
#elif NP == 6
#define HASMOV (st[0]==BMOV || st[1]==BMOV || st[2]==BMOV || st[3]==BMOV || st[4]==BMOV || st[5]==BMOV)
#define ANYMOV(q) if :: st[0]==BMOV -> q=0 :: st[1]==BMOV -> q=1 :: st[2]==BMOV -> q=2 :: st[3]==BMOV -> q=3 :: st[4]==BMOV -> q=4 :: st[5]==BMOV -> q=5 fi
#else
#define HASMOV (st[0]==BMOV || st[1]==BMOV || st[2]==BMOV || st[3]==BMOV || st[4]==BMOV || st[5]==BMOV || st[6]==BMOV || st[7]==BMOV)
#define ANYMOV(q) if :: st[0]==BMOV -> q=0 :: st[1]==BMOV -> q=1 :: st[2]==BMOV -> q=2 :: st[3]==BMOV -> q=3 :: st[4]==BMOV -> q=4 :: st[5]==BMOV -> q=5 :: st[6]==BMOV -> q=6 :: st[7]==BMOV -> q=7 fi
#endif
#if NC == 1
#define IRQON (irq[0]==0)
#define ALLHIGH(h) (high[0]==(h))
#define ALLBAT(h)  (bat[0]==(h))
#elif NC == 2
#define IRQON (irq[0]==0 && irq[1]==0)
#define ALLHIGH(h) (high[0]==(h) && high[1]==(h))
#define ALLBAT(h)  (bat[0]==(h) && bat[1]==(h))
#else
#define IRQON (irq[0]==0 && irq[1]==0 && irq[2]==0)
#define ALLHIGH(h) (high[0]==(h) && high[1]==(h) && high[2]==(h))
#define ALLBAT(h)  (bat[0]==(h) && bat[1]==(h) && bat[2]==(h))
#endif

/* list primitives; each is used inside one step */
inline list_add_tail(x, q)
{
	j = NP-1;
	do
	:: j > 0 -> L(x,j) = L(x,j-1); j--
	:: else -> break
	od;
	L(x,0) = q+1;
	j = 0
}
inline list_del_tail(x, q)
{
	q = L(x,0)-1;
	j = 0;
	do
	:: j < NP-1 -> L(x,j) = L(x,j+1); j++
	:: else -> break
	od;
	L(x,NP-1) = 0;
	j = 0
}
inline lowest_movable(q)
{
	j = 0;
	do
	:: st[j] != BMOV -> j++
	:: else -> break
	od;
	q = j;
	j = 0
}

/*
 * free_pcppages_bulk(): n pages from the tail, zone lock held on entry,
 * released on exit; then control goes to DONE.
 */
#ifndef COARSE
#define BULK(x, DONE)							\
B1:	i = (nr > 0);							\
B2:	atomic { true; d_step { list_del_tail(x, p) } };					\
B3:	cnt[x]--;							\
B4:	d_step { if :: i -> mt = type[BLK(p)] :: else -> mt = MOV fi };	\
B5:	atomic { st[p] = 2+mt; mt = 0; p = 0; n--;			\
		if :: n > 0 -> goto B2 :: else -> i = 0; goto B6 fi };	\
B6:	atomic { ZUNLOCK; goto DONE };
#ifdef FAIR
#define ZTRY	zq?[eval(_pid)] -> zlock = 1
#define ZENQ	zq!_pid;
#define ZLOCK	zq!_pid; atomic { ZTRY }
#else
#define ZTRY	zlock == 0 -> zlock = 1
#define ZENQ
#define ZLOCK	atomic { ZTRY; FENCE(CPU) }
#endif
#elif defined(CHK)
#define ZTRY	zlock == 0 -> zlock = 1
#define ZENQ
/* cnt is read remotely, so each cnt-- stays a step of its own */
#define BULK(x, DONE)							\
B2:	atomic { true; d_step { list_del_tail(x, p); cnt[x]-- } };			\
B5:	atomic { if :: nr > 0 -> st[p] = 2+type[BLK(p)]			\
		   :: else -> st[p] = BMOV fi; p = 0; n--;		\
		if :: n > 0 -> list_del_tail(x, p); cnt[x]--; goto B5	\
		:: else -> zlock = 0; goto DONE fi };
#define ZLOCK	atomic { zlock == 0 -> zlock = 1; FENCE(CPU) }
#else
#define ZTRY	zlock == 0 -> zlock = 1
#define ZENQ
/* nobody looks at cnt from outside: the whole zone-lock section is one step */
#define BULK(x, DONE)							\
B2:	atomic { list_del_tail(x, p); cnt[x]--;				\
		if :: nr > 0 -> st[p] = 2+type[BLK(p)]			\
		   :: else -> st[p] = BMOV fi; p = 0; n--;		\
		if :: n > 0 -> goto B2 :: else -> zlock = 0; goto DONE fi };
#define ZLOCK	atomic { zlock == 0 -> zlock = 1; FENCE(CPU) }
#endif

#ifndef COARSE
active [W] proctype worker()
{
	byte pg = (_pid < OWN -> _pid : NONE), k, n, p, i;
	bit mt;

TOP:	if
	/* F1: free_unref_page(pg): lockless read of the type, irqs still on */
	:: atomic { pg != NONE -> mt = type[BLK(pg)]; goto F2 }
	/* A1: rmqueue_pcplist(): irqs off */
#ifdef FAIR
	:: atomic { pg == NONE -> cq[CPU]!_pid; goto A1w }
	fi;
A1w:	atomic { cq[CPU]?[eval(_pid)] -> irq[CPU] = 1;
		if :: cnt[CPU] == 0 -> goto A2 :: else -> goto A7 fi };
#else
	:: atomic { pg == NONE && irq[CPU] == 0 -> irq[CPU] = 1;
		if :: cnt[CPU] == 0 -> goto A2 :: else -> goto A7 fi }
	fi;
#endif

	/* ---- free_unref_page(pg), continued ---- */
F2:
#ifdef FAIR
	cq[CPU]!_pid;
	atomic { cq[CPU]?[eval(_pid)] -> irq[CPU] = 1;
#else
	atomic { irq[CPU] == 0 -> irq[CPU] = 1;
#endif
		if :: mt == ISO -> goto F3 :: else -> goto F8 fi };
F3:	ZLOCK;
F4:	mt = type[BLK(pg)];
F5:	d_step { st[pg] = 2+mt; pg = NONE; mt = 0 };
F6:	atomic { ZUNLOCK; goto F14 };
F8:	atomic { true; d_step { L(CPU,cnt[CPU]) = pg+1; st[pg] = ONPCP; pg = NONE } };
F9:	cnt[CPU]++;
F10:	atomic { if :: cnt[CPU] >= high[CPU] -> goto F11 :: else -> goto F14 fi };
F11:	atomic { true; d_step { n = (bat[CPU] < cnt[CPU] -> bat[CPU] : cnt[CPU]) } };
F12:	ZLOCK;
	BULK(CPU, F14)
F14:	atomic { IRQFREE(CPU);
		if :: k < K -> k++ :: else fi;
		if :: MORE -> goto TOP :: else -> goto end_w fi };

	/* ---- rmqueue_pcplist(), continued ---- */
A2:	n = bat[CPU];
A3:	ZENQ atomic { ZTRY; FENCE(CPU);
		if :: HASMOV -> goto A4 :: else -> n = 0; goto A5 fi };
#ifdef ND
A4:	atomic { ANYMOV(p); st[p] = ONPCP };
#else
A4:	atomic { true; d_step { lowest_movable(p); st[p] = ONPCP } };
#endif
A4b:	atomic { list_add_tail(CPU, p); p = 0; i++; n--;
		if :: n > 0 && HASMOV -> goto A4 :: else -> n = 0; goto A5 fi };
A5:	atomic { ZUNLOCK; if :: i == 0 -> goto A9 :: else -> goto A6 fi };
A6:	atomic { true; d_step { cnt[CPU] = cnt[CPU]+i; i = 0 } };
A7:	atomic { true; d_step { pg = L(CPU,cnt[CPU]-1)-1; L(CPU,cnt[CPU]-1) = 0; st[pg] = ALLOC } };
A8:	cnt[CPU]--;
A9:	atomic { IRQFREE(CPU);
		if :: k < K -> k++ :: else fi;
		if :: pg != NONE || MORE -> goto TOP
		:: else -> goto end_w fi };
end_w:	false
}

active [NC] proctype kworker()
{
	byte n, p, i;
	bit mt;
#define KC (_pid - W)
end_k:
#ifdef FAIR
K1:	atomic { pend[KC] == 1 -> cq[KC]!_pid };
	atomic { cq[KC]?[eval(_pid)] -> irq[KC] = 1 };
#else
K1:	atomic { pend[KC] == 1 && irq[KC] == 0 -> irq[KC] = 1 };
#endif
K2:	atomic { n = cnt[KC]; if :: n == 0 -> goto K8 :: else -> goto K3 fi };
K3:	ZENQ atomic { ZTRY; FENCE(KC) };
	BULK(KC, K8)
K8:	atomic { IRQFREE(KC) };
K9:	atomic { pend[KC] = 0; goto K1 }
}

#else	/* ---------------- COARSE ---------------- */

active [W] proctype worker()
{
	byte pg = (_pid < OWN -> _pid : NONE), k, n, p, i;

TOP:	if
	:: atomic { pg != NONE -> if :: type[BLK(pg)] == ISO -> goto F2i :: else -> goto F2 fi }
	:: atomic { pg == NONE && irq[CPU] == 0 -> irq[CPU] = 1;
		if :: cnt[CPU] == 0 -> n = bat[CPU]; goto A3 :: else -> goto A7 fi }
	fi;
F2i:	atomic { irq[CPU] == 0 -> irq[CPU] = 1 };
F3:	atomic { zlock == 0 -> st[pg] = 2+type[BLK(pg)]; pg = NONE; FENCE(CPU); goto F14 };
F2:	atomic { irq[CPU] == 0 -> irq[CPU] = 1;
		L(CPU,cnt[CPU]) = pg+1; st[pg] = ONPCP; pg = NONE;
		cnt[CPU]++;
#if defined(CHK)
	};
F10:	atomic {
#endif
		if :: cnt[CPU] >= high[CPU] -> goto F11 :: else -> goto F14 fi };
F11:	atomic { true; d_step { n = (bat[CPU] < cnt[CPU] -> bat[CPU] : cnt[CPU]) } };
F12:	ZLOCK;
	BULK(CPU, F14)
F14:	atomic { irq[CPU] = 0;
		if :: k < K -> k++ :: else fi;
		if :: MORE -> goto TOP :: else -> goto end_w fi };

A3:	atomic { zlock == 0 -> FENCE(CPU);
		do
		:: n > 0 && HASMOV ->
			lowest_movable(p); st[p] = ONPCP; list_add_tail(CPU, p);
			p = 0; i++; n--
		:: else -> n = 0; break
		od;
		if :: i == 0 -> goto A9 :: else -> goto A6 fi };
A6:	atomic { true; d_step { cnt[CPU] = cnt[CPU]+i; i = 0 } };
A7:	atomic { true; d_step { pg = L(CPU,cnt[CPU]-1)-1; L(CPU,cnt[CPU]-1) = 0; st[pg] = ALLOC;
		cnt[CPU]-- } };
A9:	atomic { irq[CPU] = 0;
		if :: k < K -> k++ :: else fi;
		if :: pg != NONE || MORE -> goto TOP
		:: else -> goto end_w fi };
end_w:	false
}

active [NC] proctype kworker()
{
	byte n, p;
#define KC (_pid - W)
end_k:
K1:	atomic { pend[KC] == 1 && irq[KC] == 0 -> irq[KC] = 1; n = cnt[KC];
		if :: n == 0 -> goto K8 :: else -> goto K3 fi };
K3:	atomic { zlock == 0 -> zlock = 1; FENCE(KC) };
	BULK(KC, K8)
K8:	atomic { irq[KC] = 0; pend[KC] = 0; goto K1 }
}
#endif

#ifdef TSO
active [NC] proctype sbuf()	/* the store buffer empties itself at any time */
{
#define SC_ (_pid - W - NC)
end_s:	do
	:: d_step { mcnt[SC_] != cnt[SC_] -> mcnt[SC_] = cnt[SC_] }
	od
}
#define NSB NC
#else
#define NSB 0
#endif

#define BB (_pid - W - NC - NSB)	/* this isolator's block */
#define P0 (2*BB)
#define P1 (2*BB+1)

#ifdef CHK
#define DRAIN_PICK							\
	x = 0;								\
D2:	atomic { if :: RCNT(x) > 0 -> m = m | (1<<x) :: else fi; x++;	\
		if :: x < NC -> goto D2 :: else -> x = 0 fi;		\
		if :: m == 0 -> goto D5 :: else fi;			\
		do :: (m & (1<<x)) == 0 -> x++ :: else -> break od };
#define DRAIN_START
#else
#define DRAIN_PICK
#define DRAIN_START m = (1<<NC)-1
#endif
#define NEXT_CPU do :: x < NC && (m & (1<<x)) == 0 -> x++ :: else -> break od

/* drain_all_pages(zone): m = cpus to drain, x = loop cpu */
#ifdef CHK
#define DRAIN(DONE)							\
D1:	atomic { dmutex == 0 -> dmutex = 1 };				\
D2:	atomic { if :: RCNT(x) > 0 -> m = m | (1<<x) :: else fi; x++;	\
		if :: x < NC -> goto D2 :: else fi;			\
		x = 0; if :: m == 0 -> goto D5 :: else fi; NEXT_CPU };	\
D3:	atomic { pend[x] = 1; x++; NEXT_CPU;				\
		if :: x < NC -> goto D3 :: else fi; x = 0; NEXT_CPU };	\
D4:	atomic { pend[x] == 0 -> x++; NEXT_CPU;				\
		if :: x < NC -> goto D4 :: else fi; x = 0; m = 0 };	\
D5:	atomic { dmutex = 0; goto DONE };
#else
#define DRAIN(DONE)							\
D1:	atomic { dmutex == 0 -> dmutex = 1 };				\
D3:	atomic { pend[x] = 1; x++;					\
		if :: x < NC -> goto D3 :: else fi; x = 0 };		\
D4:	atomic { pend[x] == 0 -> x++;					\
		if :: x < NC -> goto D4 :: else fi; x = 0 };		\
D5:	atomic { dmutex = 0; goto DONE };
#endif

active [NI] proctype isolator()
{
	byte x, m;
	bit first;

	/* ---- entry locks ---- */
#if DESIGN == 3
R1:	atomic { wr == 0 && ww == 0 -> rd++ };
#endif
#if DESIGN == 4
M1:	atomic { bhmutex == 0 -> bhmutex = 1 };
M2:	bat[x] = 1;
M3:	atomic { high[x] = 0; x++;
		if :: x < NC -> goto M2 :: else fi; x = 0 };
	DRAIN(I1)
#endif

	/* ---- set_migratetype_isolate(block) ---- */
#ifndef COARSE
I1:	ZENQ atomic { ZTRY };
I2:	type[BB] = ISO;
I3:	d_step { if :: st[P0] == BMOV -> st[P0] = BISO :: else fi };
I3b:	d_step { if :: st[P1] == BMOV -> st[P1] = BISO :: else fi };
I4:	atomic { nr++; first = (nr == 1);
#if DESIGN == 3 && !defined(RFC_OUT)
		if :: first -> goto I4h :: else -> goto I5 fi
#else
		goto I5
#endif
	};
#else
I1:	atomic { zlock == 0 -> type[BB] = ISO;
		if :: st[P0] == BMOV -> st[P0] = BISO :: else fi;
		if :: st[P1] == BMOV -> st[P1] = BISO :: else fi;
		nr++; first = (nr == 1);
#if DESIGN == 3 && !defined(RFC_OUT)
		if :: first -> zlock = 1; goto I4h :: else -> goto I6 fi
#else
		goto I6
#endif
	};
#endif
#if DESIGN == 3 && !defined(RFC_OUT)
I4h:	atomic { high[x] = 0; x++;
		if :: x < NC -> goto I4h :: else -> x = 0; goto I5 fi };
#endif
I5:	atomic { ZUNLOCK; goto I6 };
I6:
#if DESIGN == 3 && defined(RFC_OUT)
	atomic { if :: first -> high[0] = 0; x = 1;
			if :: x < NC -> goto I7 :: else -> x = 0; goto I8 fi
		 :: else -> goto I8 fi };
I7:	atomic { high[x] = 0; x++; if :: x < NC -> goto I7 :: else -> x = 0 fi };
I8:
#endif
#if DESIGN == 3 && defined(DRAIN_FIRST)
	atomic { if :: first -> first = 0 :: else -> goto C1 fi };
#endif

	/* ---- drain, test ---- */
#if DESIGN == 1
	DRAIN(C1)
C1:	atomic { st[P0] != ALLOC && st[P1] != ALLOC && IRQON ->
		assert(st[P0] == BISO && st[P1] == BISO); first = 0 };
#elif DESIGN == 2
	DRAIN(T1)
T1:	ZENQ atomic { ZTRY };
T2:	m = (st[P0] == BISO);
T2b:	d_step { m = m && (st[P1] == BISO) };
T3:	atomic { ZUNLOCK; if :: m == 0 -> goto D1 :: else -> m = 0 fi };
T4:	d_step { assert(st[P0] == BISO && st[P1] == BISO); ended = 1; first = 0 };
#elif DESIGN == 3
	DRAIN(C1)
C1:	atomic { st[P0] != ALLOC && st[P1] != ALLOC && IRQON ->
		assert(st[P0] == BISO && st[P1] == BISO); first = 0 };
#elif DESIGN == 4
C1:	atomic { st[P0] != ALLOC && st[P1] != ALLOC && IRQON ->
		assert(st[P0] == BISO && st[P1] == BISO);
		assert(ALLHIGH(0) && ALLBAT(1)); first = 0 };
#endif

	/* ---- unset_migratetype_isolate(block) ---- */
#if DESIGN >= 3
#ifndef COARSE
U1:	ZENQ atomic { ZTRY };
U2:	type[BB] = MOV;
U3:	d_step { if :: st[P0] == BISO -> st[P0] = BMOV :: else fi };
U3b:	d_step { if :: st[P1] == BISO -> st[P1] = BMOV :: else fi };
U4:	atomic { nr--;
#else
U1:	atomic { zlock == 0 -> type[BB] = MOV;
		if :: st[P0] == BISO -> st[P0] = BMOV :: else fi;
		if :: st[P1] == BISO -> st[P1] = BMOV :: else fi;
		nr--; zlock = 1;
#endif
#if DESIGN == 3
		first = (nr == 0);
#ifndef RFC_OUT
		if :: first -> goto U4h :: else -> goto U5 fi
#endif
#endif
	};
#if DESIGN == 3 && !defined(RFC_OUT)
U4h:	atomic { high[x] = zhigh; x++;
		if :: x < NC -> goto U4h :: else -> x = 0; goto U5 fi };
#endif
U5:	atomic { ZUNLOCK };
#if DESIGN == 3 && defined(RFC_OUT)
U6:	atomic { if :: first -> high[0] = zhigh; x = 1;
			if :: x < NC -> goto U7 :: else -> x = 0; goto U8 fi
		 :: else -> goto U8 fi };
U7:	atomic { high[x] = zhigh; x++; if :: x < NC -> goto U7 :: else -> x = 0 fi };
U8:	skip;
#endif
#endif

	/* ---- exit locks ---- */
#if DESIGN == 3
R2:	d_step { rd--; first = 0 };
#endif
#if DESIGN == 4
M5:	bat[x] = zbat;
M6:	atomic { high[x] = zhigh; x++;
		if :: x < NC -> goto M5 :: else fi; x = 0 };
M7:	bhmutex = 0;
#endif
end_i:	false
}

#if SYSCTL > 0
active proctype sysctl()
{
	byte x;
#if SYSCTL == 1 && DESIGN == 3
S0:	ww = 1;
S1:	atomic { rd == 0 && wr == 0 -> wr = 1; ww = 0 };
#elif SYSCTL == 1
S1:	atomic { bhmutex == 0 -> bhmutex = 1 };
#endif
S2:	zhigh = HIGH2;
S3:	zbat = BATCH2;
S4:	bat[x] = zbat;
S5:	atomic { high[x] = zhigh; x++;
		if :: x < NC -> goto S4 :: else fi; x = 0 };
#if SYSCTL == 1 && DESIGN == 3
S6:	wr = 0;
#elif SYSCTL == 1
S6:	bhmutex = 0;
#endif
end_y:	false
}
#endif

/* invariants that the isolator itself does not test */
#ifndef NOASSERT
#if DESIGN == 3 && !defined(RFC_OUT)
#define INV (zlock == 1 || ((nr == 0 || ALLHIGH(0)) && (nr > 0 || wr == 1 || SYSCTL == 2 || ALLHIGH(zhigh))))
active proctype monitor()
{
end_m:	atomic { !(INV) -> assert(false) };
	false
}
#elif DESIGN == 4
#define INV (bhmutex == 1 || SYSCTL == 2 || (ALLHIGH(zhigh) && ALLBAT(zbat)))
active proctype monitor()
{
end_m:	atomic { !(INV) -> assert(false) };
	false
}
#endif
#endif

#ifdef LIVE
ltl term { <> (ended == 1) }
#endif
