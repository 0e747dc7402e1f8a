// Search parameters as plain text in the URL: `?q=kelp&sort=-name`, and readers that drop what does not fit, so that an
// old or mistyped link still opens its page.

export type Raw = Record<string, unknown>

export function parseSearch(text: string): Raw {
  const raw: Raw = {}
  for (const [key, value] of new URLSearchParams(text)) raw[key] = value
  return raw
}

export function stringifySearch(search: Raw): string {
  const out = new URLSearchParams()
  for (const [key, value] of Object.entries(search)) {
    if (value === undefined || value === null || value === '' || value === false) continue
    out.set(key, String(value))
  }
  const text = out.toString()
  return text ? `?${text}` : ''
}

export const text = (raw: Raw, key: string): string | undefined => {
  const value = raw[key]
  return typeof value === 'string' && value !== '' ? value : typeof value === 'number' ? String(value) : undefined
}

export const whole = (raw: Raw, key: string): number | undefined => {
  const value = Number(text(raw, key) ?? Number.NaN)
  return Number.isSafeInteger(value) ? value : undefined
}

export const flag = (raw: Raw, key: string): boolean | undefined =>
  raw[key] === true || raw[key] === 'true' || raw[key] === '1' ? true : undefined

export const oneOf = <const T extends string>(raw: Raw, key: string, values: readonly T[]): T | undefined => {
  const value = text(raw, key)
  return values.find((one) => one === value)
}
