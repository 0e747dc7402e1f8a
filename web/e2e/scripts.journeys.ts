// From a function to a flow, and from a failed item to one that went through: code on samples, before anything is saved.
import { mkdirSync, writeFileSync } from 'node:fs'
import type { Locator, Page } from 'playwright-core'
import { check, isShown, type Journey, until, type World } from './harness'

async function write(page: Page, editor: Locator, text: string) {
  await editor.click()
  await page.keyboard.press('Control+a')
  await page.keyboard.press('Delete')
  await page.keyboard.insertText(text)
}

const BROKEN = `import csv, io

def process(text: str) -> str:
    rows = csv.reader(io.StringIO(text))
    return str(sum(float(mass) for _, mass in rows)) + "\\n"
`
const MENDED = BROKEN.replace('for _, mass in rows)', 'for _, mass in rows if mass.strip() != "n/a")')

async function gone(world: World, slug: string) {
  const auth = { authorization: `Bearer ${process.env.OPENDMP_TOKEN}` }
  const left = await world.api<{ etag: string }>('GET', `/drafts/${slug}`).catch(() => undefined)
  if (left) await fetch(`${world.url}/api/v1/drafts/${slug}`, { method: 'DELETE', headers: { ...auth, 'if-match': `"${left.etag}"` } })
  await world.api('DELETE', `/flows/${slug}?work=drain`).catch(() => undefined)
}

export const journeys: Journey[] = [
  {
    name: 'scripts: paste a function, see what it does, and have it run by itself',
    run: async (world) => {
      const { page, open, shot, accessible } = world
      await gone(world, 'weights')
      await open('/flows')
      await page.getByRole('button', { name: 'Bring a script' }).first().click()
      const dialog = page.getByRole('dialog', { name: 'Bring a script' })
      const code = dialog.getByRole('textbox', { name: 'Code' })
      await isShown(code)
      await write(page, code, BROKEN)
      await dialog.getByRole('textbox', { name: 'Sample text' }).fill('kelp,3\nmussel,n/a\n')
      await dialog.getByRole('button', { name: 'Run' }).click()
      await isShown(dialog.getByText(/could not convert string to float/))
      await isShown(dialog.locator('.cm-lintRange-error'))
      await shot('failed-run')
      await accessible()
      await write(page, code, MENDED)
      await page.keyboard.press('Control+Enter')
      await isShown(dialog.getByRole('status').getByText('Done'))
      await isShown(dialog.getByText('3.0'))
      await dialog.getByRole('tab', { name: 'Changes' }).click()
      await isShown(dialog.locator('.cm-mergeView'))
      await shot('run')
      await dialog.getByRole('textbox', { name: 'Flow' }).fill('Weights')
      await dialog.getByRole('button', { name: 'Save as a flow' }).click()
      await page.waitForURL('**/flows/weights?*')
      await isShown(page.getByRole('complementary', { name: 'Processor script' }))
      await page.keyboard.press('Control+Shift+E')
      await page.getByRole('dialog', { name: 'Enable Weights' }).getByRole('button', { name: 'Enable' }).click()
      await isShown(page.getByText(/Weights is enabled/))
      // A file by the page itself, and again, which replaces nothing unasked.
      await page.locator('[data-card="inbox"]').click()
      const inbox = page.getByRole('region', { name: 'Files for this ingest' })
      const wednesday = { name: 'wednesday.csv', mimeType: 'text/csv', buffer: Buffer.from('kelp,1\n') }
      await inbox.locator('input[type=file]').setInputFiles(wednesday)
      await isShown(inbox.getByText('put in'))
      await inbox.locator('input[type=file]').setInputFiles(wednesday)
      await isShown(inbox.getByRole('button', { name: 'Replace' }))
      await isShown(page.getByRole('region', { name: 'List of recent items' }).getByText('wednesday.csv'))
      const { flow } = await world.api<{ flow: { base: string } }>('GET', '/flows/weights')
      mkdirSync(`${flow.base}/inbox`, { recursive: true })
      writeFileSync(`${flow.base}/inbox/tuesday.csv`, 'kelp,3\nmussel,12\n')
      await isShown(page.getByRole('region', { name: 'List of recent items' }).getByText('tuesday.csv'))
      const { rows } = await world.api<{ rows: { id: string; name: string }[] }>('GET', '/datasets?flow=weights')
      const tuesday = rows.find((row) => row.name.startsWith('tuesday'))
      check(tuesday && (await world.bytes(`/datasets/${tuesday.id}/content`)).toString() === '15.0\n', 'the sum is in the collection')
      await shot('enabled')
    },
  },
  {
    name: 'scripts: a failed item is opened, its code mended, and it is tried again',
    run: async (world) => {
      const { page, open, shot, accessible } = world
      const base = `${world.root}/sums`
      await gone(world, 'sums')
      mkdirSync(`${base}/inbox`, { recursive: true })
      writeFileSync(`${base}/sum.py`, BROKEN)
      writeFileSync(`${base}/flow.yaml`, `name: Sums
processors:
  - { id: inbox, type: ingest, phase: 1, source: { type: file_drop, path: ./inbox, settle: 0s } }
  - id: sum
    type: script
    phase: 2
    inputs: [inbox]
    file: ./sum.py     # mended on the page
    on_error: { retries: 0 }
  - { id: shelf, type: collect, phase: 3, inputs: [sum], collection: Sums }
`)
      await world.cli('flows', 'enable', `${base}/flow.yaml`)
      const name = `day-${Date.now()}.csv`
      writeFileSync(`${base}/inbox/${name}`, `kelp,3\nmussel,n/a\nlimpet,${Date.now()}\n`)
      const letter = await until('it fails', async () => (await world.api<{ rows: { id: string; item: { name: string } }[] }>('GET', '/dead-letters?flow=sums')).rows.find((one) => one.item.name === name))
      await open(`/flows/sums?processor=sum&sample=dead_letter:${letter.id}`)
      const panel = page.getByRole('complementary', { name: 'Processor sum' })
      await isShown(panel.getByText(/^Failed here: /))
      await panel.getByRole('button', { name: 'Run' }).click()
      await isShown(panel.getByText(/could not convert string to float/).nth(1))
      await isShown(panel.locator('.cm-lintRange-error'))
      await shot('letter')
      await accessible()
      await write(page, panel.getByRole('textbox', { name: 'Code' }), MENDED)
      await page.keyboard.press('Control+Enter')
      await isShown(panel.getByText(/It works now: enable the changes, then retry it/))
      await page.keyboard.press('Control+Shift+E')
      const dialog = page.getByRole('dialog', { name: /^Enable the changes/ })
      await isShown(dialog.getByText('~ sum.py'))
      await dialog.getByRole('button', { name: 'Enable' }).click()
      await isShown(page.getByText(/Sums is enabled, version/))
      await panel.getByRole('button', { name: 'Retry it' }).click()
      await isShown(panel.getByText('It is on its way again.'))
      await until('its sum is collected', async () => (await world.api<{ rows: { name: string }[] }>('GET', '/datasets?flow=sums')).rows.some((one) => one.name.startsWith(name.replace('.csv', ''))))
      await shot('mended')
    },
  },
  {
    name: 'scripts: an output is the next sample, and recent items go by with brackets',
    run: async (world) => {
      const { page, open, shot } = world
      const base = `${world.root}/chain`
      await gone(world, 'chain')
      mkdirSync(`${base}/inbox`, { recursive: true })
      writeFileSync(`${base}/flow.yaml`, `name: Chain
processors:
  - { id: inbox, type: ingest, phase: 1, source: { type: file_drop, path: ./inbox, settle: 0s } }
  - { id: lines, type: split, phase: 2, inputs: [inbox], as: lines }
  - { id: shout, type: script, phase: 3, inputs: [lines], code: "def process(text: str) -> str:\\n    print('shouting')\\n    return text.upper()\\n" }
  - { id: shelf, type: collect, phase: 4, inputs: [shout], collection: Chain }
`)
      await world.cli('flows', 'enable', `${base}/flow.yaml`)
      for (const day of ['monday', 'tuesday']) writeFileSync(`${base}/inbox/${day}.txt`, `${day} one\n${day} two ${Date.now()}\n`)
      await until('both went through', async () => (await world.api<{ rows: unknown[] }>('GET', '/datasets?flow=chain')).rows.length >= 4)
      await open('/flows/chain?processor=lines')
      const panel = page.getByRole('complementary')
      const sample = panel.getByRole('button', { name: /^Sample: / })
      await isShown(sample)
      const first = await sample.getAttribute('aria-label')
      await page.locator('body').press(']')
      await until('the next one', async () => (await sample.getAttribute('aria-label')) !== first)
      await page.locator('body').press('[')
      await until('and back', async () => (await sample.getAttribute('aria-label')) === first)
      await panel.getByRole('button', { name: 'Run' }).click()
      await isShown(panel.getByText(/2 outputs/))
      await panel.getByRole('button', { name: 'On to shout' }).click()
      await page.waitForURL('**processor=shout&sample=upload*')
      await page.keyboard.press('Control+Enter')
      await isShown(panel.getByText(/DAY ONE/))
      await panel.getByRole('tab', { name: /Log 1/ }).click()
      await isShown(panel.getByText('shouting', { exact: true }))
      await panel.getByRole('button', { name: 'Show as a page' }).click()
      await shot('page')
    },
  },
]
