"""The kernels of the Triton peer: scores of pages, selection by thresholds, attention over parts of a list, combination.

A `list` is one KV head of one row. TRIGGER is that of programmatic dependent launch: 0 none, 1 first, 2 before the stores.
"""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

LOWEST = tl.constexpr(-(1 << 31))
LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def begin(TRIGGER: tl.constexpr):
    if TRIGGER > 0:
        gdc_wait()
    if TRIGGER == 1:
        gdc_launch_dependents()


@triton.jit
def before_stores(TRIGGER: tl.constexpr):
    if TRIGGER == 2:
        gdc_launch_dependents()


@triton.jit
def store_scores(scores, count, row, page, best, pages, PAGE: tl.constexpr, TRIGGER: tl.constexpr):
    """The last page always stays, those after it never do."""
    last = (tl.load(count + row) - 1) // PAGE
    best = tl.where(page == last, float("inf"), tl.where(page < last, best, float("-inf")))
    before_stores(TRIGGER)
    tl.store(scores + row.to(tl.int64) * pages + page, best, mask=page < pages)


@triton.jit
def score_by_page(
    query, page_max, page_min, count, scores, pages,
    GROUP: tl.constexpr, PADDED: tl.constexpr, DIM: tl.constexpr, PAGE: tl.constexpr, TILE: tl.constexpr,
    DOT: tl.constexpr, TRIGGER: tl.constexpr,
):  # fmt: skip
    """Fields [list, page, channel]; a program has TILE pages. max(q a, q b) is q+ a + q- b, where b <= a: two products."""
    begin(TRIGGER)
    row = tl.program_id(1)
    page = tl.program_id(0) * TILE + tl.arange(0, TILE)
    channel = tl.arange(0, DIM)
    at = (row.to(tl.int64) * pages + page[:, None]) * DIM + channel[None, :]
    upper = tl.load(page_max + at, mask=page[:, None] < pages, other=0.0)
    lower = tl.load(page_min + at, mask=page[:, None] < pages, other=0.0)
    if DOT:
        head = tl.arange(0, PADDED)
        q = tl.load(query + (row * GROUP + head[None, :]) * DIM + channel[:, None], mask=head[None, :] < GROUP, other=0.0)
        zero, positive = tl.zeros_like(q), q.to(tl.float32) > 0
        sums = tl.dot(upper, tl.where(positive, q, zero), tl.dot(lower, tl.where(positive, zero, q)))
        best = tl.max(tl.where(head[None, :] < GROUP, sums, float("-inf")), 1)
    else:
        upper, lower = upper.to(tl.float32), lower.to(tl.float32)
        best = tl.full([TILE], float("-inf"), tl.float32)
        for one in tl.static_range(GROUP):
            q = tl.load(query + (row * GROUP + one) * DIM + channel).to(tl.float32)[None, :]
            best = tl.maximum(best, tl.sum(tl.maximum(q * upper, q * lower), 1))
    store_scores(scores, count, row, page, best, pages, PAGE, TRIGGER)


@triton.jit
def score_by_channel(
    query, page_max, page_min, count, scores, pages,
    DIM: tl.constexpr, PAGE: tl.constexpr, TILE: tl.constexpr, TRIGGER: tl.constexpr,
):  # fmt: skip
    """Fields [list, channel, page], one query head: the sign of its number says which of the two is read."""
    begin(TRIGGER)
    row = tl.program_id(1)
    page = tl.program_id(0) * TILE + tl.arange(0, TILE)
    channel = tl.arange(0, DIM)
    q = tl.load(query + row * DIM + channel).to(tl.float32)[:, None]
    at = (row.to(tl.int64) * DIM + channel[:, None]) * pages + page[None, :]
    bound = tl.load(tl.where(q > 0, page_max + at, page_min + at), mask=page[None, :] < pages, other=0.0)
    store_scores(scores, count, row, page, tl.sum(q * bound.to(tl.float32), 0), pages, PAGE, TRIGGER)


@triton.jit
def choose(scores, count, row, pages, BUDGET: tl.constexpr, PAGE: tl.constexpr, SPAN: tl.constexpr, WAYS: tl.constexpr):
    """Every page's place in the ascending list of those taken, or -1. SPAN is a power of two, not below the pages.

    Scores become integers in their order. An interval of them that holds the threshold is cut in WAYS + 1 parts, again and
    again, until just as many scores as needed are not below its lower end, or it is one number: then the first of equals stay.
    """
    page = tl.arange(0, SPAN)
    last = (tl.load(count + row) - 1) // PAGE
    bits = tl.load(scores + row.to(tl.int64) * pages + page, mask=page < last, other=0.0).to(tl.int32, bitcast=True)
    order = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    key = tl.where(page < last, order, LOWEST)
    need = BUDGET - 1
    low = tl.min(tl.where(page < last, order, 0x7FFFFFFF), 0).to(tl.int64)
    high = tl.max(key, 0).to(tl.int64) + 1
    held = last
    while (held != need) & (high - low > 1):
        step = (high - low + WAYS) // (WAYS + 1)
        cut = low + step * (1 + tl.arange(0, WAYS))
        above = tl.sum((key[:, None] >= tl.minimum(cut, high)[None, :].to(tl.int32)).to(tl.int32), 0)
        enough = above >= need
        reached = tl.sum(enough.to(tl.int32), 0)
        held = tl.minimum(held, tl.min(tl.where(enough, above, 0x7FFFFFFF), 0))
        high = tl.minimum(high, low + step * (reached + 1))
        low = low + step * reached
    taken = key >= low.to(tl.int32)
    if held > need:
        equal = key == low.to(tl.int32)
        surplus = tl.cumsum(equal.to(tl.int32), 0, reverse=True) <= held - need
        taken = taken & ((equal & surplus) == 0)
    taken = taken | (page == last)
    return tl.where(taken, tl.cumsum(taken.to(tl.int32), 0) - 1, -1)


@triton.jit
def select(
    scores, count, table, chosen, physical, pages,
    BUDGET: tl.constexpr, PAGE: tl.constexpr, SPAN: tl.constexpr, WAYS: tl.constexpr, TRIGGER: tl.constexpr,
):  # fmt: skip
    """A program has a list; it gives the numbers of the pages and where they lie."""
    begin(TRIGGER)
    row = tl.program_id(0)
    page = tl.arange(0, SPAN)
    place = choose(scores, count, row, pages, BUDGET, PAGE, SPAN, WAYS)
    lies = tl.load(table + row.to(tl.int64) * pages + page, mask=page < pages, other=0)
    before_stores(TRIGGER)
    tl.store(chosen + row * BUDGET + place, page, mask=place >= 0)
    tl.store(physical + row * BUDGET + place, lies, mask=place >= 0)


@triton.jit
def attend(
    query, keys, values, table, count, scores, chosen, physical, partial, greatest, weight, pages, page_stride, scale,
    GROUP: tl.constexpr, PADDED: tl.constexpr, DIM: tl.constexpr, VALUE_DIM: tl.constexpr, PAGE: tl.constexpr,
    BUDGET: tl.constexpr, PART: tl.constexpr, TILE: tl.constexpr, STAGES: tl.constexpr, DOT: tl.constexpr,
    SELECT: tl.constexpr, LOOKUP: tl.constexpr, SPAN: tl.constexpr, WAYS: tl.constexpr, TRIGGER: tl.constexpr,
):  # fmt: skip
    """A program has PART pages of a list, TILE at a time. SELECT: it makes its part of the list itself, first; LOOKUP: the list
    says numbers of pages only."""
    begin(TRIGGER)
    part, row = tl.program_id(0), tl.program_id(1)
    if SELECT:
        page = tl.arange(0, SPAN)
        place = choose(scores, count, row, pages, BUDGET, PAGE, SPAN, WAYS)
        mine = (place >= part * PART) & (place < (part + 1) * PART)
        theirs = tl.load(table + row.to(tl.int64) * pages + page, mask=mine, other=0)
        tl.store(chosen + row * BUDGET + place, page, mask=mine)
        tl.store(physical + row * BUDGET + place, theirs, mask=mine)
        tl.debug_barrier()  # other threads of the program read what this one wrote
    SLOTS: tl.constexpr = TILE * PAGE
    head, slot = tl.arange(0, PADDED), tl.arange(0, SLOTS)
    channel, value_channel = tl.arange(0, DIM), tl.arange(0, VALUE_DIM)
    filled = tl.load(count + row)
    q = tl.load(query + (row * GROUP + head[:, None]) * DIM + channel[None, :], mask=head[:, None] < GROUP, other=0.0)
    most = tl.full([PADDED], float("-inf"), tl.float32)
    total = tl.zeros([PADDED], tl.float32)
    sums = tl.zeros([PADDED, VALUE_DIM], tl.float32)
    for start in tl.range(0, PART, TILE, num_stages=STAGES):
        entry = part * PART + start + slot // PAGE
        number = tl.load(chosen + row * BUDGET + entry, mask=entry < BUDGET, other=0).to(tl.int32)
        if LOOKUP:
            lies = tl.load(table + row.to(tl.int64) * pages + number)
        else:
            lies = tl.load(physical + row * BUDGET + entry, mask=entry < BUDGET, other=0)
        at = lies.to(tl.int64) * page_stride
        within = slot % PAGE
        k = tl.load(keys + (at + within * DIM)[:, None] + channel[None, :])
        v = tl.load(values + (at + within * VALUE_DIM)[:, None] + value_channel[None, :])
        if DOT:
            logits = tl.dot(q, tl.trans(k))
        else:
            logits = tl.sum(q.to(tl.float32) * k.to(tl.float32), 1)[None, :]
        visible = (entry < BUDGET) & (number * PAGE + within < filled)
        logits = tl.where(visible[None, :], logits * (scale * LOG2E), float("-inf"))
        more = tl.maximum(most, tl.max(logits, 1))
        safe = tl.where(more == float("-inf"), 0.0, more)
        p = tl.exp2(logits - safe[:, None])
        before = tl.exp2(most - safe)
        total = total * before + tl.sum(p, 1)
        if DOT:
            sums = tl.dot(p.to(v.dtype), v, sums * before[:, None])
        else:
            sums = sums * before[:, None] + tl.sum(tl.trans(p) * v.to(tl.float32), 0)[None, :]
        most = more
    before_stores(TRIGGER)
    of = (row * tl.num_programs(0) + part) * GROUP + head
    tl.store(partial + of[:, None].to(tl.int64) * VALUE_DIM + value_channel[None, :], sums, mask=head[:, None] < GROUP)
    tl.store(greatest + of, most, mask=head < GROUP)
    tl.store(weight + of, total, mask=head < GROUP)


@triton.jit
def combine(
    partial, greatest, weight, out, parts,
    GROUP: tl.constexpr, VALUE_DIM: tl.constexpr, SPAN: tl.constexpr, TRIGGER: tl.constexpr,
):  # fmt: skip
    """A program has a query head; SPAN is a power of two, not below the parts."""
    begin(TRIGGER)
    head, part, channel = tl.program_id(0), tl.arange(0, SPAN), tl.arange(0, VALUE_DIM)
    of = ((head // GROUP) * parts + part) * GROUP + head % GROUP
    inside = part < parts
    most = tl.load(greatest + of, mask=inside, other=float("-inf"))
    share = tl.exp2(most - tl.max(most, 0))
    total = tl.sum(share * tl.load(weight + of, mask=inside, other=0.0), 0)
    at = of[:, None].to(tl.int64) * VALUE_DIM + channel[None, :]
    sums = tl.sum(share[:, None] * tl.load(partial + at, mask=inside[:, None], other=0.0), 0)
    before_stores(TRIGGER)
    tl.store(out + head * VALUE_DIM + channel, (sums / total).to(out.dtype.element_ty))
