// Numbers, sizes, times and durations as people read them. Values come from the API: bytes, microseconds, milliseconds,
// RFC 3339.

const COUNT = new Intl.NumberFormat('en-GB')

/** `12,482`. */
export function count(value: number): string {
  return COUNT.format(value)
}

/** `12.5 k`, `1.2 M`: at most four characters and a unit, for small places. */
export function brief(value: number): string {
  if (Math.abs(value) < 10_000) return count(value)
  for (const [size, unit] of [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']] as const) {
    if (Math.abs(value) >= size) return `${three(value / size)} ${unit}`
  }
  return count(value)
}

function three(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2).replace(/0$/, '')
}

/** Bytes, in powers of 1000 as disks and networks count: `44.1 kB`. */
export function bytes(size: number): string {
  if (size < 1000) return `${size} B`
  const units = ['kB', 'MB', 'GB', 'TB', 'PB']
  let at = -1
  let value = size
  do {
    value /= 1000
    at += 1
    // 999.95 would be shown as 1000.
  } while (value >= 999.5 && at < units.length - 1)
  return `${value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[at]}`
}

/** Microseconds: `12 ms`, `1.2 s`, `2 min 4 s`, `3 h 20 min`. */
export function duration(us: number): string {
  if (us < 1) return '0 ms'
  if (us < 1000) return `${Math.round(us)} µs`
  const ms = us / 1000
  if (ms < 10) return `${ms.toFixed(1).replace(/\.0$/, '')} ms`
  if (ms < 999.5) return `${Math.round(ms)} ms`
  const s = ms / 1000
  if (s < 59.95) return `${s.toFixed(1).replace(/\.0$/, '')} s`
  const whole = Math.round(s)
  if (whole < 3600) return parts(Math.floor(whole / 60), 'min', whole % 60, 's')
  const minutes = Math.round(s / 60)
  if (minutes < 1440) return parts(Math.floor(minutes / 60), 'h', minutes % 60, 'min')
  const hours = Math.round(s / 3600)
  return parts(Math.floor(hours / 24), 'd', hours % 24, 'h')
}

function parts(large: number, unit: string, small: number, smaller: string): string {
  return small === 0 ? `${large} ${unit}` : `${large} ${unit} ${small} ${smaller}`
}

/** Clock time: `14:02:11`. */
export function clock(time: string | number | Date): string {
  const date = new Date(time)
  return Number.isNaN(date.getTime()) ? String(time) : date.toLocaleTimeString('en-GB')
}

/** A time as one compares it with others: today `14:02:11`, else `22 Nov 14:02`, another year `22 Nov 2025`. */
export function when(time: string | number | Date, now: Date = new Date()): string {
  const date = new Date(time)
  if (Number.isNaN(date.getTime())) return String(time)
  if (date.toDateString() === now.toDateString()) return date.toLocaleTimeString('en-GB')
  const day = date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' })
  if (date.getFullYear() !== now.getFullYear()) return `${day} ${date.getFullYear()}`
  return `${day} ${date.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' })}`
}

/** In full, with the zone, for tooltips. */
export function inFull(time: string | number | Date): string {
  const date = new Date(time)
  if (Number.isNaN(date.getTime())) return String(time)
  return date.toLocaleString('en-GB', { dateStyle: 'full', timeStyle: 'long' })
}

/** How long ago: `just now`, `4 min ago`. */
export function ago(time: string | number | Date, now: number = Date.now()): string {
  const date = new Date(time).getTime()
  if (Number.isNaN(date)) return String(time)
  const s = Math.floor((now - date) / 1000)
  if (s < 5) return 'just now'
  if (s < 60) return `${s} s ago`
  if (s < 3600) return `${Math.floor(s / 60)} min ago`
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`
  return `${Math.floor(s / 86_400)} d ago`
}

/** A hash or id, cut to what tells it apart: `3f9c1a`. */
export function short(hash: string, length = 7): string {
  return hash.slice(0, length)
}

/** `1 item`, `3 items`. */
export function many(value: number, one: string, more = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : more}`
}
