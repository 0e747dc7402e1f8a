import { expect, test } from 'vitest'

import { quoted, snippet } from './snippets'

const base = { origin: 'http://127.0.0.1:7117', id: '1-185e', name: 'PAL0708-Dream.csv', mediaType: 'text/csv', revision: undefined }

test('curl can be pasted, whatever the name', () => {
  expect(snippet('curl', { ...base, revision: 2 })).toBe(`curl --fail --location \\
  --header "Authorization: Bearer $OPENDMP_TOKEN" \\
  --output 'PAL0708-Dream.csv' \\
  'http://127.0.0.1:7117/api/v1/datasets/1-185e/content?revision=2'`)
  expect(snippet('curl', { ...base, name: "a/it's; rm -rf.csv" })).toContain(`--output 'it'\\''s; rm -rf.csv'`)
  expect(quoted("'")).toBe(`''\\'''`)
})

test('Python reads what it is', () => {
  expect(snippet('python', base)).toBe(`import os
import pandas
import urllib.request

request = urllib.request.Request(
    "http://127.0.0.1:7117/api/v1/datasets/1-185e/content",
    headers={"Authorization": "Bearer " + os.environ["OPENDMP_TOKEN"]},
)
with urllib.request.urlopen(request) as answer:
    table = pandas.read_csv(answer)`)
  expect(snippet('python', { ...base, name: 'x', mediaType: 'image/png' })).toContain('data = answer.read()')
  expect(snippet('python', { ...base, name: 'x.parquet', mediaType: null })).toContain('pandas.read_parquet(io.BytesIO(answer.read()))')
})

test('the command line', () => {
  expect(snippet('opendmp', { ...base, revision: 1 })).toBe(`opendmp datasets get 1-185e --revision 1 --output 'PAL0708-Dream.csv'`)
})
