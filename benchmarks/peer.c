/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The peer of the compiled model: the allocator's fast path, refills, bulk frees and buddy merging of Linux 6.1 as a C
 * programmer would write them for speed, for one zone with one thread.  It arrives at the same pages as the model.
 *
 * Left out against the model: checks of indices and of values, faults, tracepoints, isolation, CMA, hotplug.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { NIL = -1 };
enum { MAX_ORDER = 11, BLOCK_ORDER = 9, COSTLY_ORDER = 3 };
enum { MOVABLE = 1, PCP_TYPES = 3, TYPES = 6 };
enum { PCP_LISTS = PCP_TYPES * (COSTLY_ORDER + 1) + 2 };
enum { BUDDY = 1, ON_PCPLIST, ALLOCATED, IN_FLIGHT, TAIL };
enum { SCALE_MAX = 5 };

struct page {
	int32_t next, prev;
	int8_t order, state, type, free_list, allocated_order, movable;
};

struct list {
	int32_t head, tail;
};

struct area {
	int32_t head, tail, count;
};

struct pcp {
	bool locked;
	int32_t count, high, batch;
	int16_t free_factor;
	struct list lists[PCP_LISTS];
};

struct zone {
	bool locked, reclaim_active;
	int32_t isolated_blocks;
	int64_t free_pages;
	struct area areas[MAX_ORDER][TYPES];
	struct pcp pcp[4];
	struct page *pages;
	int8_t *block_types;
	int32_t *live;
	int64_t nr_live, seed;
};

/* ---- free lists */

static void add_free(struct zone *z, int32_t page, int order, int type, bool to_tail)
{
	struct area *a = &z->areas[order][type];
	struct page *p = &z->pages[page];

	if (to_tail) {
		p->next = NIL;
		p->prev = a->tail;
		if (a->tail == NIL)
			a->head = page;
		else
			z->pages[a->tail].next = page;
		a->tail = page;
	} else {
		p->prev = NIL;
		p->next = a->head;
		if (a->head == NIL)
			a->tail = page;
		else
			z->pages[a->head].prev = page;
		a->head = page;
	}
	p->free_list = type;
	p->order = order;
	p->state = BUDDY;
	a->count++;
}

static void del_free(struct zone *z, int32_t page, int order)
{
	struct page *p = &z->pages[page];
	struct area *a = &z->areas[order][p->free_list];

	if (p->prev == NIL)
		a->head = p->next;
	else
		z->pages[p->prev].next = p->next;
	if (p->next == NIL)
		a->tail = p->prev;
	else
		z->pages[p->next].prev = p->prev;
	p->state = IN_FLIGHT;
	p->order = 0;
	a->count--;
}

static bool is_free(const struct zone *z, int32_t page, int order)
{
	return z->pages[page].state == BUDDY && z->pages[page].order == order;
}

static void give_back(struct zone *z, int32_t page, int order, int type, bool to_tail)
{
	int32_t buddy = 0;

	z->free_pages += 1 << order;
	for (; order < MAX_ORDER - 1; order++) {
		buddy = page ^ 1 << order;
		if (!is_free(z, buddy, order))
			break;
		if (order >= BLOCK_ORDER) {
			int other = z->block_types[buddy >> BLOCK_ORDER];

			if (type != other && (type >= PCP_TYPES || other >= PCP_TYPES))
				break;
		}
		del_free(z, buddy, order);
		z->pages[page | buddy].state = TAIL;
		page &= buddy;
	}
	if (!to_tail && order < MAX_ORDER - 2) {
		int32_t parent = page & buddy;

		to_tail = is_free(z, parent ^ 2 << order, order + 1);
	}
	add_free(z, page, order, type, to_tail);
}

static int32_t take(struct zone *z, int order, int type)
{
	for (int from = order; from < MAX_ORDER; from++) {
		int32_t page = z->areas[from][type].head;

		if (page == NIL)
			continue;
		del_free(z, page, from);
		while (from > order) {
			from--;
			add_free(z, page + (1 << from), from, type, false);
		}
		z->pages[page].type = type;
		z->pages[page].allocated_order = order;
		return page;
	}
	return NIL;
}

/* ---- pcplists */

static int list_of(int type, int order)
{
	if (order > COSTLY_ORDER)
		return PCP_TYPES * (COSTLY_ORDER + 1) + (type == MOVABLE);
	return PCP_TYPES * order + type;
}

static int order_of(int list)
{
	return list >= PCP_TYPES * (COSTLY_ORDER + 1) ? BLOCK_ORDER : list / PCP_TYPES;
}

static bool has_pcplist(int order)
{
	return order <= COSTLY_ORDER || order == BLOCK_ORDER;
}

static int refill(struct zone *z, struct list *l, int order, int count, int type)
{
	int done = 0;

	z->locked = true;
	for (; done < count; done++) {
		int32_t page = take(z, order, type);

		if (page == NIL)
			break;
		z->pages[page].next = NIL;
		z->pages[page].prev = l->tail;
		if (l->tail == NIL)
			l->head = page;
		else
			z->pages[l->tail].next = page;
		l->tail = page;
		z->pages[page].state = ON_PCPLIST;
	}
	z->free_pages -= (int64_t)done << order;
	z->locked = false;
	return done;
}

static void bulk_free(struct zone *z, struct pcp *pcp, int count, int list)
{
	int first = 0, last = PCP_LISTS - 1;
	bool isolated = z->isolated_blocks != 0;

	if (count > pcp->count)
		count = pcp->count;
	list--;
	z->locked = true;
	while (count > 0) {
		struct list *l;
		int order;

		for (;;) {
			if (++list > last)
				list = first;
			l = &pcp->lists[list];
			if (l->tail != NIL)
				break;
			if (list == last)
				last--;
			if (list == first)
				first++;
		}
		order = order_of(list);
		do {
			int32_t page = l->tail;
			int type = z->pages[page].type;

			l->tail = z->pages[page].prev;
			if (l->tail == NIL)
				l->head = NIL;
			else
				z->pages[l->tail].next = NIL;
			z->pages[page].state = IN_FLIGHT;
			count -= 1 << order;
			pcp->count -= 1 << order;
			if (isolated)
				type = z->block_types[page >> BLOCK_ORDER];
			give_back(z, page, order, type, false);
		} while (count > 0 && l->tail != NIL);
	}
	z->locked = false;
}

/* ---- allocate and free */

static int32_t allocate(struct zone *z, int cpu, int order, int type)
{
	struct pcp *pcp = &z->pcp[cpu];
	int32_t page = NIL;

	if (has_pcplist(order) && !pcp->locked) {
		struct list *l = &pcp->lists[list_of(type, order)];

		pcp->locked = true;
		pcp->free_factor >>= 1;
		if (l->head == NIL) {
			int batch = pcp->batch;

			if (batch > 1) {
				batch >>= order;
				if (batch < 2)
					batch = 2;
			}
			pcp->count += refill(z, l, order, batch, type) << order;
		}
		page = l->head;
		if (page != NIL) {
			l->head = z->pages[page].next;
			if (l->head == NIL)
				l->tail = NIL;
			else
				z->pages[l->head].prev = NIL;
			z->pages[page].state = IN_FLIGHT;
			pcp->count -= 1 << order;
		}
		pcp->locked = false;
	}
	if (page == NIL) {
		page = take(z, order, type);
		if (page == NIL)
			return NIL;
		z->free_pages -= 1 << order;
	}
	z->pages[page].movable = type == MOVABLE;
	z->pages[page].state = ALLOCATED;
	return page;
}

static int how_many(struct pcp *pcp, int high, bool all)
{
	int batch = pcp->batch, most = high - batch, least = batch;

	if (all)
		return pcp->count;
	if (high < batch)
		return 1;
	batch <<= pcp->free_factor;
	if (batch < most && pcp->free_factor < SCALE_MAX)
		pcp->free_factor++;
	if (batch < least)
		batch = least;
	return batch < most ? batch : most;
}

static void release(struct zone *z, int cpu, int32_t page, int order)
{
	struct pcp *pcp = &z->pcp[cpu];
	struct page *p = &z->pages[page];
	int type = z->block_types[page >> BLOCK_ORDER], list, high;
	struct list *l;
	bool all;

	p->state = IN_FLIGHT;
	p->type = type;
	if (!has_pcplist(order) || type > MOVABLE + 1 || pcp->locked) {
		give_back(z, page, order, type, false);
		return;
	}
	pcp->locked = true;
	list = list_of(type, order);
	l = &pcp->lists[list];
	p->prev = NIL;
	p->next = l->head;
	if (l->head == NIL)
		l->tail = page;
	else
		z->pages[l->head].prev = page;
	l->head = page;
	p->state = ON_PCPLIST;
	pcp->count += 1 << order;
	all = order > 0 && order <= COSTLY_ORDER && pcp->free_factor != 0;
	high = pcp->high;
	if (all || high == 0)
		high = 0;
	else if (z->reclaim_active && pcp->batch << 2 < high)
		high = pcp->batch << 2;
	if (pcp->count >= high)
		bulk_free(z, pcp, how_many(pcp, high, all), list);
	pcp->locked = false;
}

/* ---- the loops of straight_model.py */

struct zone *peer_new(int32_t nr_pages, int64_t nr_live, int32_t high, int32_t batch)
{
	struct zone *z = calloc(1, sizeof(*z));

	z->pages = calloc(nr_pages, sizeof(struct page));
	z->block_types = malloc(nr_pages >> BLOCK_ORDER);
	z->live = malloc(nr_live * sizeof(int32_t));
	z->nr_live = nr_live;
	z->seed = 1;
	for (int32_t i = 0; i < nr_pages >> BLOCK_ORDER; i++)
		z->block_types[i] = MOVABLE;
	for (int64_t i = 0; i < nr_live; i++)
		z->live[i] = NIL;
	for (int order = 0; order < MAX_ORDER; order++)
		for (int type = 0; type < TYPES; type++)
			z->areas[order][type] = (struct area){ NIL, NIL, 0 };
	for (int cpu = 0; cpu < 4; cpu++) {
		z->pcp[cpu].high = high;
		z->pcp[cpu].batch = batch;
		for (int i = 0; i < PCP_LISTS; i++)
			z->pcp[cpu].lists[i] = (struct list){ NIL, NIL };
	}
	for (int32_t page = 0; page < nr_pages; page++)
		z->pages[page].state = TAIL;
	for (int32_t page = 0; page < nr_pages; page += 1 << (MAX_ORDER - 1)) {
		add_free(z, page, MAX_ORDER - 1, MOVABLE, true);
		z->free_pages += 1 << (MAX_ORDER - 1);
	}
	return z;
}

void peer_free(struct zone *z)
{
	free(z->pages);
	free(z->block_types);
	free(z->live);
	free(z);
}

int32_t *peer_live(struct zone *z)
{
	return z->live;
}

int64_t peer_free_pages(struct zone *z)
{
	return z->free_pages;
}

int64_t peer_fast(struct zone *z, int64_t n)
{
	int64_t seen = 0;

	for (int64_t i = 0; i < n; i++) {
		int32_t page = allocate(z, 0, 0, MOVABLE);

		seen ^= page;
		release(z, 0, page, 0);
	}
	return seen;
}

static int64_t next_slot(struct zone *z)
{
	z->seed = (z->seed * 1103515245 + 12345) & 0x7fffffff;
	return (z->seed >> 8) & (z->nr_live - 1);
}

int64_t peer_fill(struct zone *z)
{
	for (int64_t i = 0; i < z->nr_live; i += 2)
		z->live[i] = allocate(z, 0, 0, MOVABLE);
	return 0;
}

int64_t peer_toggle(struct zone *z, int64_t n)
{
	int64_t seen = 0;

	for (int64_t i = 0; i < n; i++) {
		int64_t slot = next_slot(z);
		int32_t page = z->live[slot];

		if (page == NIL) {
			page = allocate(z, 0, 0, MOVABLE);
			z->live[slot] = page;
		} else {
			release(z, 0, page, 0);
			z->live[slot] = NIL;
		}
		seen ^= page;
	}
	return seen;
}

int64_t peer_bursts(struct zone *z, int64_t n, int64_t length)
{
	int64_t seen = 0;

	for (int64_t i = 0; i < n; i++) {
		for (int64_t freed = 0; freed < length;) {
			int64_t slot = next_slot(z);
			int32_t page = z->live[slot];

			if (page != NIL) {
				release(z, 0, page, 0);
				z->live[slot] = NIL;
				freed++;
			}
		}
		for (int64_t got = 0; got < length;) {
			int64_t slot = next_slot(z);

			if (z->live[slot] == NIL) {
				z->live[slot] = allocate(z, 0, 0, MOVABLE);
				seen ^= z->live[slot];
				got++;
			}
		}
	}
	return seen;
}
