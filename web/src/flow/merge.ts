// Line diffs, and a merge of two changes of one text. Used to carry an edit into a text as it was written, without
// touching lines that the edit does not concern.

/** Lines `[from, to)` of the old text became lines `[start, end)` of the new one. */
export interface Hunk {
  from: number
  to: number
  start: number
  end: number
}

/** Beyond this many differing lines the middle is taken as one hunk: exact enough, and never slow. */
const MOST_DIFFERENT = 2000

/** What to replace in `a` to get `b`, in order, with equal lines left out. */
export function diffLines(a: readonly string[], b: readonly string[]): Hunk[] {
  let head = 0
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1
  let tail = 0
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail += 1
  const left = a.slice(head, a.length - tail)
  const right = b.slice(head, b.length - tail)
  if (left.length === 0 && right.length === 0) return []
  if (left.length === 0 || right.length === 0 || left.length > MOST_DIFFERENT || right.length > MOST_DIFFERENT) {
    return [{ from: head, to: head + left.length, start: head, end: head + right.length }]
  }
  return longestCommon(left, right).map((hunk) => ({
    from: hunk.from + head,
    to: hunk.to + head,
    start: hunk.start + head,
    end: hunk.end + head,
  }))
}

/** By a table of the longest common subsequence of each pair of rests. */
function longestCommon(a: readonly string[], b: readonly string[]): Hunk[] {
  const width = b.length + 1
  const table = new Uint16Array((a.length + 1) * width)
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      table[i * width + j] =
        a[i] === b[j]
          ? (table[(i + 1) * width + j + 1] ?? 0) + 1
          : Math.max(table[(i + 1) * width + j] ?? 0, table[i * width + j + 1] ?? 0)
    }
  }
  const hunks: Hunk[] = []
  let i = 0
  let j = 0
  let open: Hunk | undefined
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      open = undefined
      i += 1
      j += 1
      continue
    }
    if (!open) {
      open = { from: i, to: i, start: j, end: j }
      hunks.push(open)
    }
    const down = i < a.length ? (table[(i + 1) * width + j] ?? 0) : -1
    const right = j < b.length ? (table[i * width + j + 1] ?? 0) : -1
    if (down >= right) i += 1
    else j += 1
    open.to = i
    open.end = j
  }
  return hunks
}

/**
 * `ours` with what changed from `base` to `theirs`. Where both changed the same lines, theirs are taken.
 */
export function merge(base: readonly string[], ours: readonly string[], theirs: readonly string[]): string[] {
  const mine = diffLines(base, ours)
  const out: string[] = []
  let at = 0 // in base
  let here = 0 // index in mine
  // Copies what stands for base lines up to `end`, as ours have it.
  const copy = (end: number) => {
    while (here < mine.length && (mine[here]?.from ?? 0) < end) {
      const hunk = mine[here]
      if (!hunk) break
      if (hunk.from >= at) {
        out.push(...base.slice(at, hunk.from), ...ours.slice(hunk.start, hunk.end))
        at = hunk.to
      }
      here += 1
    }
    out.push(...base.slice(at, end))
    at = Math.max(at, end)
  }
  for (const hunk of diffLines(base, theirs)) {
    let { from, to, start, end } = hunk
    // Widened to whole hunks of ours that it touches; in between base and theirs are equal.
    for (const my of mine) {
      const touches = my.from < to && my.to > from
      if (touches && my.from < from) {
        start -= from - my.from
        from = my.from
      }
      if (touches && my.to > to) {
        end += my.to - to
        to = my.to
      }
    }
    if (from < at) {
      start += at - from
      from = at
    }
    copy(from)
    out.push(...theirs.slice(start, end))
    at = Math.max(at, to)
    while (here < mine.length && (mine[here]?.from ?? 0) < to) here += 1
  }
  copy(base.length)
  // Insertions of ours at the very end.
  for (; here < mine.length; here += 1) {
    const hunk = mine[here]
    if (hunk) out.push(...ours.slice(hunk.start, hunk.end))
  }
  return out
}
