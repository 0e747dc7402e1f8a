// A picture of each page in both themes, to be looked at by people: what is cut off, or ugly, no check finds.
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { deflateSync } from 'node:zlib'
import type { Page } from 'playwright-core'
import { BROKEN, datasetId, drop, enable, letters, stocked, weights } from './data.stock'
import { check, isShown, type Journey, rests, until, type World } from './harness'

const PENGUINS = fileURLToPath(new URL('../../examples/penguins', import.meta.url))

/** Crc-32, as PNG has it. */
function crc(bytes: Uint8Array): number {
  let sum = 0xffffffff
  for (const byte of bytes) {
    sum ^= byte
    for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1
  }
  return (sum ^ 0xffffffff) >>> 0
}

/** A picture of two waves. */
function png(width: number, height: number): Buffer {
  const rows = Buffer.alloc((width * 3 + 1) * height)
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const level = Math.sin(x / 23) * Math.cos(y / 31)
      rows.set([128 + level * 90, 120 + Math.sin((x + y) / 57) * 80, 170 - level * 60], y * (width * 3 + 1) + 1 + x * 3)
    }
  }
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type), data])
    const head = Buffer.alloc(4)
    head.writeUInt32BE(data.length)
    const tail = Buffer.alloc(4)
    tail.writeUInt32BE(crc(body))
    return Buffer.concat([head, body, tail])
  }
  const about = Buffer.alloc(13)
  about.writeUInt32BE(width)
  about.writeUInt32BE(height, 4)
  about.set([8, 2], 8)
  return Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk('IHDR', about), chunk('IDAT', deflateSync(rows)), chunk('IEND', Buffer.alloc(0))])
}

/** One page with a line of words. */
function pdf(words: string): Buffer {
  const text = `BT /F1 28 Tf 60 700 Td (${words}) Tj ET`
  const parts = [
    '<< /Type /Catalog /Pages 2 0 R >>', '<< /Type /Pages /Kids [3 0 R] /Count 1 >>',
    '<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>',
    `<< /Length ${text.length} >>\nstream\n${text}\nendstream`, '<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>',
  ]
  let body = '%PDF-1.4\n'
  const at = parts.map((part, index) => {
    const start = body.length
    body += `${index + 1} 0 obj\n${part}\nendobj\n`
    return start
  })
  const table = at.map((start) => `${String(start).padStart(10, '0')} 00000 n \n`).join('')
  return Buffer.from(`${body}xref\n0 ${parts.length + 1}\n0000000000 65535 f \n${table}trailer\n<< /Size ${parts.length + 1} /Root 1 0 R >>\nstartxref\n${body.length}\n%%EOF\n`)
}

/** The penguins of the examples, at work, with a file that cannot be read. */
async function penguins(world: World): Promise<void> {
  const base = `${world.root}/penguins`
  await world.api('DELETE', '/flows/penguins?work=drain').catch(() => undefined)
  rmSync(base, { recursive: true, force: true })
  cpSync(PENGUINS, base, { recursive: true })
  await world.cli('flows', 'enable', `${base}/penguins.yaml`)
  await until('the penguins are collected', async () => (await world.api<{ rows: unknown[] }>('GET', '/datasets?flow=penguins&limit=100')).rows.length >= 9)
}

const card = (page: Page, id: string) => page.locator(`[data-card="${id}"]`)

async function write(page: Page, name: string | RegExp, text: string) {
  await page.getByRole('textbox', { name }).first().click()
  await page.keyboard.press('ControlOrMeta+a')
  await page.keyboard.press('Delete')
  await page.keyboard.insertText(text)
}

export const journeys: Journey[] = [
  {
    name: 'shell: pictures of each page in both themes, flows',
    run: async (world) => {
      const { page, open, both, root } = world
      await penguins(world)
      await enable(world, 'weights', weights(BROKEN))
      drop(world, 'weights', 'pictured.txt', 'n/a\n')
      await until('one failed', async () => (await letters(world)).length > 0)
      await open('/flows')
      await isShown(page.getByRole('row', { name: /Penguins/ }))
      await both('flows')
      await page.getByRole('button', { name: 'More for Penguins' }).click()
      await both('flow-menu')
      await page.keyboard.press('Escape')
      await page.getByRole('button', { name: 'From a template' }).click()
      await isShown(page.getByRole('dialog'))
      await both('template')
      await page.keyboard.press('Escape')
      await page.getByRole('button', { name: 'Import' }).click()
      await page.getByRole('dialog').locator('input[type=file]').setInputFiles({ name: 'penguins.yaml', mimeType: 'application/yaml', buffer: readFileSync(`${PENGUINS}/penguins.yaml`) })
      await isShown(page.getByRole('dialog').getByText(/processors/))
      await both('import')
      await page.keyboard.press('Escape')
      await page.getByRole('button', { name: 'Bring a script' }).click()
      await isShown(page.getByRole('dialog').locator('.cm-content'))
      await both('script')
      await page.goto('about:blank')

      // The canvas, with what comes while it is open.
      await open('/flows/penguins')
      await isShown(card(page, 'clean'))
      mkdirSync(`${root}/penguins/again`, { recursive: true })
      for (const name of readdirSync(`${PENGUINS}/inbox`)) cpSync(`${PENGUINS}/inbox/${name}`, `${root}/penguins/inbox/again-${name}`)
      await until('nine more', async () => (await world.api<{ rows: unknown[] }>('GET', '/datasets?flow=penguins&limit=100')).rows.length >= 18)
      await isShown(page.getByRole('region', { name: 'List of recent items' }).getByText(/again-/))
      await both('canvas')
      for (const [tab, seen] of [['List', 'inbox'], ['YAML', 'processors'], ['Plan', /Stage 2/]] as const) {
        await page.getByRole('tab', { name: tab }).click()
        await isShown(page.locator('#view').getByText(seen))
        await both(tab.toLowerCase())
      }
      // A processor with a sample.
      await open('/flows/penguins?processor=clean')
      const panel = page.getByRole('complementary')
      await isShown(panel.getByRole('button', { name: /^Sample: / }))
      await panel.getByRole('button', { name: 'Run' }).click()
      await isShown(panel.getByText(/outputs/))
      await until('it is loaded', async () => (await page.getByRole('status', { name: 'Loading' }).count()) === 0)
      await both('editor')
      await write(page, 'Code', 'import csv\n\ndef process(item: Item):\n    rows = list(csv.DictReader(item.text().splitlines()))\n    return item.with_(str(sum(float(row["Body Mass (g)"]) for row in rows)))\n')
      await page.keyboard.press('Control+Enter')
      await isShown(panel.getByText(/could not convert string to float/))
      await both('traceback')
      await page.getByRole('button', { name: 'Close clean' }).click()
      await page.getByRole('tab', { name: /Changes/ }).click()
      await isShown(page.getByRole('list', { name: 'What differs' }))
      await both('changes')
      await page.keyboard.press('Control+Shift+E')
      await isShown(page.getByRole('dialog', { name: /^Enable/ }))
      await both('enable')
      await page.keyboard.press('Escape')
      await page.getByRole('tab', { name: 'Canvas' }).click()
      await card(page, 'island').focus()
      await page.keyboard.press('a')
      await isShown(page.getByRole('dialog', { name: /^Add a processor/ }))
      await both('add')
      await page.keyboard.press('Escape')
      await open('/flows/penguins?processor=inbox')
      await isShown(page.getByRole('region', { name: 'Files for this ingest' }))
      await both('inbox')
      await open('/flows/penguins?processor=island')
      await isShown(panel)
      await both('route')
      await page.keyboard.press('Escape')
      await page.keyboard.press('Control+k')
      await isShown(page.getByRole('dialog', { name: 'Search or run a command' }))
      await both('palette')
      await page.keyboard.press('Escape')
      await page.getByRole('dialog').waitFor({ state: 'detached' })
      await page.keyboard.press('?')
      await isShown(page.getByRole('dialog', { name: 'Keys' }))
      await both('keys')
      await page.keyboard.press('Escape')
      // As it was.
      const { etag } = await world.api<{ etag: string }>('GET', '/drafts/penguins')
      await fetch(`${world.url}/api/v1/drafts/penguins`, { method: 'DELETE', headers: { authorization: `Bearer ${process.env.OPENDMP_TOKEN}`, 'if-match': `"${etag}"` } })
    },
  },
  {
    name: 'shell: pictures of each page in both themes, runs and letters',
    run: async (world) => {
      const { page, open, both } = world
      await stocked(world)
      await penguins(world)
      await enable(world, 'weights', weights(BROKEN))
      drop(world, 'weights', 'pictured-again.txt', 'n/a 12\n')
      drop(world, 'weights', 'good-again.txt', '4.1\n')
      await until('one failed', async () => (await letters(world)).some((one) => one.item.name === 'pictured-again.txt'))
      await open('/runs')
      await isShown(page.getByRole('table', { name: 'Runs' }).locator('[data-index]'))
      await both('runs')
      const { rows } = await world.api<{ rows: { run: number; flow: string }[] }>('GET', '/runs?flow=penguins')
      const run = rows[0]?.run
      check(run !== undefined, 'the penguins have a run')
      await open(`/runs/${run}`)
      const tree = page.getByRole('tree', { name: 'Items of the run' })
      await isShown(tree.getByRole('treeitem'))
      await tree.getByRole('treeitem').first().click()
      await page.keyboard.press('ArrowRight')
      await isShown(page.getByRole('complementary', { name: 'The chosen item' }))
      await until('it is loaded', async () => (await page.getByRole('status', { name: 'Loading' }).count()) === 0)
      await both('run')
      await page.getByRole('tab', { name: 'Timeline' }).click()
      await isShown(page.getByRole('region', { name: 'Steps in time' }).getByRole('listitem'))
      await both('timeline')
      await open('/dead-letters')
      await isShown(page.getByRole('table', { name: 'Errors' }).locator('[data-index]'))
      await both('letters')
      await page.getByRole('tab', { name: /^All/ }).click()
      await isShown(page.getByRole('table', { name: 'Dead letters' }).locator('[data-index]'))
      await both('letters-all')
      const letter = (await letters(world)).find((one) => one.item.name === 'pictured-again.txt')
      await open(`/dead-letters?letter=${letter?.id}`)
      await isShown(page.getByRole('region', { name: /^Dead letter/ }))
      await until('it is loaded', async () => (await page.getByRole('status', { name: 'Loading' }).count()) === 0)
      await both('letter')
      await page.getByRole('button', { name: 'Edit input' }).click()
      await isShown(page.getByRole('dialog').getByRole('textbox'))
      await both('edit-input')
      await page.keyboard.press('Escape')
      await page.getByRole('link', { name: 'Fix' }).click()
      await page.getByRole('complementary').getByRole('button', { name: 'Run' }).click()
      await isShown(page.getByRole('complementary').getByText(/could not convert/).nth(1))
      await both('fix')
      await open('/settings')
      await isShown(page.getByText('Everything works'))
      await both('settings')
      await page.goto(`${world.url}/no-such-page`)
      await isShown(page.getByText('There is no such page'))
      await both('nowhere')
    },
  },
  {
    name: 'shell: pictures of each page in both themes, datasets',
    run: async (world) => {
      const { page, open, both } = world
      await stocked(world)
      await penguins(world)
      drop(world, 'shelf', 'waves.png', png(900, 560))
      drop(world, 'shelf', 'report.pdf', pdf('A report of one line'))
      drop(world, 'shelf', 'capture.bin', Uint8Array.from({ length: 4000 }, (_, at) => (at * at + (at >> 3)) % 256))
      await until('they are there', async () => datasetId(world, 'capture.bin').then((id) => Boolean(id), () => false))
      await until('and they', async () => datasetId(world, 'report.pdf').then((id) => Boolean(id), () => false))
      await until('and it', async () => datasetId(world, 'waves.png').then((id) => Boolean(id), () => false))
      const loaded = () => until('it is loaded', async () => (await page.getByRole('status', { name: 'Loading' }).count()) === 0)
      await open('/collections')
      await isShown(page.getByRole('link', { name: 'Readings' }))
      await both('collections')
      await open('/datasets?collection=Readings&media=application%2Fjson&sort=name')
      await isShown(page.getByRole('table', { name: 'Datasets' }).locator('[data-index]'))
      await page.getByRole('button', { name: 'Views' }).click()
      await page.getByLabel('Keep this view as').fill('JSON readings')
      await page.keyboard.press('Enter')
      await both('views')
      await page.keyboard.press('Escape')
      await page.getByRole('button', { name: 'Filter' }).click()
      await isShown(page.getByRole('dialog', { name: 'Filter datasets' }).getByLabel('Media type'))
      await both('filter')
      await open('/datasets')
      await isShown(page.getByRole('table', { name: 'Datasets' }).locator('[data-index]'))
      await page.getByRole('checkbox').nth(2).check()
      await both('datasets')
      for (const [name, tab, as, collection] of [
        ['PAL0708-Biscoe.csv', '', 'csv', 'Penguins'], ['birds.json', '', 'json', 'Shelf'], ['waves.png', '', 'image', 'Shelf'], ['report.pdf', '', 'pdf', 'Shelf'], ['capture.bin', '', 'hex', 'Shelf'],
        ['penguins.parquet', '', 'parquet', 'Shelf'], ['PAL0708-Biscoe.csv', '?tab=history', 'history', 'Penguins'], ['PAL0708-Biscoe.csv', '?tab=lineage', 'lineage', 'Penguins'],
        ['notes.txt', '?tab=revisions', 'revisions', 'Shelf'], ['notes.txt', '?tab=revisions&revision=2&with=1', 'compare', 'Shelf'], ['notes.txt', '?tab=access', 'access', 'Shelf'],
      ] as const) {
        await open(`/datasets/${await datasetId(world, name, collection)}${tab}`)
        await loaded()
        if (as === 'lineage') await rests(page.locator('.react-flow__viewport'))
        if (as === 'csv' || as === 'parquet') await isShown(page.getByRole('region', { name: `Rows of ${name}` }))
        if (as === 'image') await until('it is drawn', () => page.getByRole('img', { name }).evaluate((image) => (image as HTMLImageElement).naturalWidth > 0))
        await both(as)
      }
      await open(`/datasets/${await datasetId(world, 'PAL0708-Biscoe.csv', 'Penguins')}?tab=history`)
      await page.getByRole('region', { name: 'History' }).getByRole('button', { name: 'Input' }).first().click()
      await isShown(page.getByRole('dialog', { name: 'Item' }))
      await loaded()
      await both('item')
    },
  },
]
