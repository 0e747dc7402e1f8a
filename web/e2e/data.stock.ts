// What the journeys of the data pages look at: flows that were enabled and files that were dropped, once for all of them.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { until, type World } from './harness'

const TABLES = fileURLToPath(new URL('../src/preview/testdata', import.meta.url))

/** Datasets of the collection `Readings`. */
export const READINGS = 10_000

const FILES = `name: Shelf
description: Whatever lands in the inbox is kept as it is.
processors:
  - id: inbox
    type: ingest
    phase: 1
    source: { type: file_drop, path: ./inbox, settle: 0s }
  - id: shelf
    type: collect
    phase: 2
    inputs: [inbox]
    collection: Shelf
`

const READ = `name: Readings
description: Ten thousand small tables of one list.
processors:
  - id: inbox
    type: ingest
    phase: 1
    source: { type: file_drop, path: ./inbox, settle: 0s }
  - id: fan
    type: script
    phase: 2
    inputs: [inbox]
    language: python
    code: |
      def process(item: Item):
          for n in range(int(item.text())):
              if n % 4 == 0:
                  yield item.with_('{"n": %d}' % n, name=f"reading-{n:05d}.json")
              else:
                  yield item.with_("station,temp\\n" + f"st-{n},{n}\\n" * (1 + n % 40), name=f"reading-{n:05d}.csv")
  - id: shelf
    type: collect
    phase: 3
    inputs: [fan]
    collection: Readings
`

/** `float(text)` fails for what is no number; the mended one answers 0. */
export const weights = (line: string, name = 'Weights'): string => `name: ${name}
description: Reads masses; some files are broken.
processors:
  - id: inbox
    type: ingest
    phase: 1
    source: { type: file_drop, path: ./inbox, settle: 0s }
  - id: weigh
    type: script
    phase: 2
    inputs: [inbox]
    language: python
    on_error: { retries: 1, backoff: 10ms }
    code: |
      import logging

      def process(item: Item):
          logging.info("weighing %s", item.name)
          text = item.text().strip()
          if text == "wild":
              raise KeyError(item.name)
          ${line}
          return item.with_(f"mass,{mass}\\n", name=item.stem + ".csv")
  - id: shelf
    type: collect
    phase: 3
    inputs: [weigh]
    collection: ${name}
`

export const BROKEN = 'mass = float(text)'
export const MENDED = 'mass = float(text) if text.replace(".", "").isdigit() else 0'

export const folder = (world: World, flow: string): string => `${world.root}/stock-${flow}`

/** Writes a flow into its folder and enables it. */
export async function enable(world: World, flow: string, text: string): Promise<void> {
  mkdirSync(`${folder(world, flow)}/inbox`, { recursive: true })
  writeFileSync(`${folder(world, flow)}/${flow}.yaml`, text)
  await world.cli('flows', 'enable', `${folder(world, flow)}/${flow}.yaml`)
}

/** Whole at once: a file that is seen while it is written would arrive twice. */
export function drop(world: World, flow: string, name: string, content: string | Uint8Array): void {
  mkdirSync(`${folder(world, flow)}/inbox`, { recursive: true })
  const aside = `${folder(world, flow)}/inbox/.${name}`
  writeFileSync(aside, content)
  renameSync(aside, `${folder(world, flow)}/inbox/${name}`)
}

export const BIRDS = { name: 'Adélie', tags: ['a', 'b'], nested: { list: Array.from({ length: 250 }, (_, at) => ({ at })) } }
export const SURVEY = 'island,species,mass_kg,note\nDream,Adelie,3.75,"said ""hello"", twice"\nBiscoe,Gentoo,5.2,\n'
export const LONG_ROWS = 40_000

/** A picture of one red pixel. */
const PIXEL = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==', 'base64')

async function fill(world: World): Promise<void> {
  await enable(world, 'shelf', FILES)
  // 2^53 + 1: a number that JavaScript can't hold.
  const birds = JSON.stringify(BIRDS).replace('{', '{"id": 9007199254740993, ')
  drop(world, 'shelf', 'birds.json', birds)
  drop(world, 'shelf', 'survey.csv', SURVEY)
  drop(world, 'shelf', 'long.csv', `n,square\n${Array.from({ length: LONG_ROWS }, (_, n) => `${n},${n * n}`).join('\n')}\n`)
  drop(world, 'shelf', 'pixel.png', PIXEL)
  drop(world, 'shelf', 'notes.txt', 'one\ntwo\nthree\n')
  drop(world, 'shelf', 'liar.csv', new Uint8Array([0, 1, 2, 3, 255]))
  drop(world, 'shelf', 'penguins.parquet', readFileSync(`${TABLES}/snappy.parquet`))
  await enable(world, 'readings', READ)
  drop(world, 'readings', 'list.txt', String(READINGS))
  // All are there when the flow begins, so that they are one run.
  for (let at = 1; at <= 6; at += 1) drop(world, 'weights', `bad-${at}.txt`, `n/a ${at}\n`)
  for (let at = 1; at <= 2; at += 1) drop(world, 'weights', `wild-${at}.txt`, 'wild\n')
  drop(world, 'weights', 'good.txt', '3.75\n')
  await enable(world, 'weights', weights(BROKEN))
  await until('everything is collected', async () => {
    const { rows } = await world.api<{ rows: { name: string; datasets: number }[] }>('GET', '/collections')
    const count = (name: string): number => rows.find((row) => row.name === name)?.datasets ?? 0
    return count('Shelf') >= 7 && count('Readings') >= READINGS && count('Weights') >= 1
  })
  await until('what is broken failed', async () => (await letters(world)).length >= 8)
  // A changed file is a second revision.
  drop(world, 'shelf', 'notes.txt', 'one\n2\nthree\n')
  await until('the second revision is there', async () => (await revisions(world, 'notes.txt')).length >= 2)
}

let filled: Promise<void> | undefined

/** Everything is there, whichever journey comes first. */
export function stocked(world: World): Promise<void> {
  filled ??= fill(world)
  return filled
}

/** Open dead letters of a flow. */
export const letters = async (world: World, flow = 'weights'): Promise<{ id: string; item: { name: string } }[]> =>
  (await world.api<{ rows: { id: string; flow: string; item: { name: string } }[] }>('GET', `/dead-letters?flow=${flow}&limit=100`)).rows

/** The id of a dataset of the collection `Shelf`. */
export async function datasetId(world: World, name: string, collection = 'Shelf'): Promise<string> {
  const { rows } = await world.api<{ rows: { id: string; name: string }[] }>('GET', `/datasets?collection=${collection}&name=${encodeURIComponent(name)}&limit=100`)
  const found = rows.find((row) => row.name === name)
  if (!found) throw new Error(`there is no dataset ${name}`)
  return found.id
}

export const revisions = async (world: World, name: string): Promise<{ revision: number; hash: string }[]> =>
  (await world.api<{ revisions: { revision: number; hash: string }[] }>('GET', `/datasets/${await datasetId(world, name)}`)).revisions
