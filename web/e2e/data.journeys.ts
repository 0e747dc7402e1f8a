// The data pages, as people use them: datasets, their content and history, collections, runs, dead letters, settings.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { BIRDS, BROKEN, datasetId, drop, enable, letters, LONG_ROWS, MENDED, READINGS, stocked, SURVEY, weights } from './data.stock'
import { check, isShown, type Journey, until, type World } from './harness'

/** Arrivals that are sent in again: few enough to be sent in at once, which takes nothing off what is asked. */
const MANY = 300

const rows = (world: World, table: string) => world.page.getByRole('table', { name: table }).locator('[data-index]')
const said = (world: World) => world.page.getByTestId('preview-said')

/** The names in the first column of the datasets that are in sight. */
const names = (world: World): Promise<string[]> => rows(world, 'Datasets').locator('a[href^="/datasets/"]').allTextContents()

async function openDataset(world: World, name: string, rest = ''): Promise<void> {
  await world.open(`/datasets/${await datasetId(world, name)}${rest}`)
}

export const journeys: Journey[] = [
  {
    name: 'data: ten thousand datasets are searched, sorted and filtered in the address',
    run: async (world) => {
      await stocked(world)
      const { page } = world
      await world.open('/datasets?collection=Readings')
      await isShown(page.getByText(`${READINGS.toLocaleString('en-GB')} datasets`))
      await page.keyboard.press('/')
      await page.keyboard.type('reading-0042')
      await isShown(page.getByText('10 datasets', { exact: true }))
      check((await names(world)).every((name) => name.startsWith('reading-0042')), 'only what was searched is shown')
      check(page.url().includes('q=reading-0042'), 'the search is in the address')
      await page.getByRole('searchbox').fill('')
      await page.getByRole('button', { name: 'Filter' }).click()
      const form = page.getByRole('dialog', { name: 'Filter datasets' })
      await form.getByLabel('Media type').fill('application/json')
      await form.getByLabel('At least').fill('10 B')
      await form.getByRole('button', { name: 'Apply' }).click()
      await until('only JSON is shown', async () => {
        const shown = await names(world)
        return shown.length > 10 && shown.every((name) => name.endsWith('.json'))
      })
      await page.getByRole('columnheader', { name: 'Name' }).getByRole('button').click()
      await until('sorted by name', async () => (await names(world))[0] === 'reading-00100.json')
      await page.getByRole('columnheader', { name: 'Name' }).getByRole('button').click()
      await until('sorted the other way', async () => (await names(world))[0] === 'reading-09996.json')
      // The address alone is enough.
      const address = page.url()
      await page.goto('about:blank')
      await page.goto(address)
      await until('the same again', async () => (await names(world))[0] === 'reading-09996.json')
      // Scrolling fetches on, to the very last.
      await until('the last row', async () => {
        await page.getByRole('table', { name: 'Datasets' }).evaluate((table) => table.scrollTo(0, table.scrollHeight))
        return (await names(world)).includes('reading-00100.json')
      })
      await world.shot('end')
      await page.getByRole('button', { name: 'Views' }).click()
      await page.getByLabel('Keep this view as').fill('JSON readings')
      await page.keyboard.press('Enter')
      await page.keyboard.press('Escape')
      await page.getByRole('button', { name: 'Clear' }).click()
      await isShown(page.getByText(/^1\d,\d{3} datasets|more than/))
      await page.getByRole('button', { name: 'Views' }).click()
      await page.getByRole('button', { name: /^JSON readings/ }).click()
      await until('the same again', async () => (await names(world))[0] === 'reading-09996.json')
    },
  },
  {
    name: 'data: a search that nothing fits says so and leads back',
    run: async (world) => {
      await stocked(world)
      await world.open('/datasets?q=no+such+thing')
      await isShown(world.page.getByText('Nothing fits'))
      await world.accessible()
      await world.page.getByRole('button', { name: 'Show all datasets' }).click()
      await isShown(rows(world, 'Datasets'))
    },
  },
  {
    name: 'data: by keyboard from the list into a dataset and through its tabs',
    run: async (world) => {
      await stocked(world)
      const { page } = world
      await world.open('/datasets?collection=Shelf&sort=name')
      await rows(world, 'Datasets').first().focus()
      await page.keyboard.press('ArrowDown')
      await page.keyboard.press('ArrowDown')
      await until('the third row has the focus', async () => (await page.evaluate(() => document.activeElement?.getAttribute('data-index'))) === '2')
      const name = (await names(world))[2] ?? ''
      await page.keyboard.press('Enter')
      await isShown(page.getByRole('heading', { level: 1, name }))
      await page.getByRole('tab', { name: 'Preview' }).focus()
      await page.keyboard.press('ArrowRight')
      await page.keyboard.press('Enter')
      await isShown(page.getByRole('region', { name: 'History' }))
      await page.keyboard.press('5')
      await isShown(page.getByText('From a program'))
    },
  },
  {
    name: 'data: a table is previewed, a long one in part',
    run: async (world) => {
      await stocked(world)
      const { page } = world
      await openDataset(world, 'survey.csv')
      const table = page.getByRole('region', { name: 'Rows of survey.csv' })
      await isShown(table)
      check((await table.getByRole('columnheader').allTextContents()).slice(1).join() === 'island,species,mass_kg,note', 'the header')
      check((await table.getByRole('row').nth(1).getByRole('cell').allTextContents()).join('|') === 'Dream|Adelie|3.75|said "hello", twice', 'the first row')
      check((await said(world).textContent()) === 'all 2 rows · 4 columns', 'all is shown')
      await world.accessible()
      await page.getByRole('button', { name: 'Text' }).click()
      await isShown(page.getByText('Dream,Adelie,3.75'))
      await openDataset(world, 'long.csv')
      await isShown(said(world))
      check(/^first 100 rows of \d+ kB · 2 columns$/.test((await said(world).textContent()) ?? ''), 'what is left out is said')
      check((await page.getByRole('region', { name: 'Rows of long.csv' }).getByRole('row').count()) === 101, 'a hundred rows and their head')
      check(LONG_ROWS > 100, 'it is longer than that')
    },
  },
  {
    name: 'data: JSON is a tree with its numbers as they are written',
    run: async (world) => {
      await stocked(world)
      const { page } = world
      await openDataset(world, 'birds.json')
      const tree = page.getByRole('tree', { name: 'Values of birds.json' })
      await isShown(tree.getByText('9007199254740993'))
      await isShown(tree.getByText(`"${BIRDS.name}"`))
      await tree.focus()
      await page.keyboard.press('End')
      await page.keyboard.press('ArrowRight')
      await isShown(tree.getByText('at: 0'))
      await page.keyboard.press('End')
      await isShown(tree.getByText('show 150 more values of 150'))
      await page.keyboard.press('Enter')
      await page.keyboard.press('End')
      await isShown(tree.getByText('at: 249'))
      await world.accessible()
      await world.shot('tree')
    },
  },
  {
    name: 'data: images, Parquet, text and what can’t be read are shown as what they are',
    run: async (world) => {
      await stocked(world)
      const { page } = world
      await openDataset(world, 'pixel.png')
      await until('the picture is drawn', async () => (await page.getByRole('img', { name: 'pixel.png' }).evaluate((image) => (image as HTMLImageElement).naturalWidth)) === 1)
      await openDataset(world, 'penguins.parquet')
      await isShown(page.getByText('2007-11-11 08:30:00.123456'))
      check(((await said(world).textContent()) ?? '').startsWith('first 100 rows of 250 · 9 columns · 3 row groups'), 'what of it is shown')
      await world.accessible()
      await openDataset(world, 'notes.txt')
      await isShown(page.getByText('three'))
      await openDataset(world, 'liar.csv')
      await isShown(page.getByText('It is said to be a table, but its bytes are not'))
      await isShown(page.getByText('00 01 02 03 ff'))
      await world.accessible()
    },
  },
  {
    name: 'data: how a dataset came to be, with what went in and out of each step',
    run: async (world) => {
      await stocked(world)
      const { page } = world
      await world.open(`/datasets/${await datasetId(world, 'good.csv', 'Weights')}?tab=history`)
      const steps = page.getByRole('region', { name: 'History' }).getByRole('listitem')
      await until('three steps', async () => (await steps.count()) === 3)
      await isShown(steps.nth(1).getByText('weighing good.txt'))
      await world.accessible()
      await steps.nth(1).getByRole('button', { name: 'Input' }).click()
      const item = page.getByRole('dialog', { name: 'Item' })
      await isShown(item.getByText('3.75'))
      await world.accessible()
      const sample = await item.getByRole('link', { name: 'Use as sample' }).getAttribute('href')
      check(/^\/flows\/weights\?processor=weigh&sample=item%3A/.test(sample ?? ''), `the sample goes to its processor: ${sample}`)
      await page.keyboard.press('Escape')
      await item.waitFor({ state: 'hidden' })
    },
  },
  {
    name: 'data: two revisions beside each other',
    run: async (world) => {
      await stocked(world)
      const { page } = world
      await openDataset(world, 'notes.txt', '?tab=revisions')
      await world.accessible()
      await page.getByRole('button', { name: 'Compare with 1' }).click()
      await isShown(page.getByLabel('Revision 1 of notes.txt'))
      await until('both texts', async () => {
        const left = await page.getByLabel('Revision 1 of notes.txt').textContent()
        const right = await page.getByLabel('Revision 2 of notes.txt').textContent()
        return left?.includes('two') && right?.includes('2') && !right.includes('two')
      })
      check(/revision=2&with=1/.test(page.url()), 'the comparison is in the address')
      await world.accessible()
      await world.shot('compare')
    },
  },
  {
    name: 'data: lineage as a graph and as a list',
    run: async (world) => {
      await stocked(world)
      const { page } = world
      await world.open(`/datasets/${await datasetId(world, 'good.csv', 'Weights')}?tab=lineage`)
      await isShown(page.locator('.react-flow__node').filter({ hasText: 'good.txt' }))
      await isShown(page.locator('.react-flow__node').filter({ hasText: 'good.csv' }))
      await world.accessible()
      await world.shot('graph')
      await page.getByRole('button', { name: 'List' }).click()
      await isShown(page.getByRole('region', { name: 'Lineage' }).getByText('this dataset'))
      await world.accessible()
    },
  },
  {
    name: 'data: what is downloaded has the very bytes',
    run: async (world) => {
      await stocked(world)
      const { page } = world
      await openDataset(world, 'survey.csv')
      const [one] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download' }).click()])
      check(one.suggestedFilename() === 'survey.csv', `its name: ${one.suggestedFilename()}`)
      check(readFileSync(await one.path(), 'utf8') === SURVEY, 'its bytes')
      await world.open('/datasets?collection=Shelf&sort=name')
      await page.getByRole('checkbox', { name: /^Select all/ }).check()
      await world.accessible()
      const [zip] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download as zip' }).click()])
      const script = 'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; n = [i for i in z.namelist() if i.endswith("survey.csv")]; sys.stdout.buffer.write(z.read(n[0]))'
      check(execFileSync('python3', ['-c', script, await zip.path()]).toString() === SURVEY, 'its bytes in the zip')
      // A refusal is told, though no page can read what a form was answered.
      const archive = '**/api/v1/datasets/archive'
      const refusal = { type: 'about:blank', title: 'Gone', status: 410, code: 'content-gone', detail: 'the bytes of survey.csv were let go' }
      await page.route(archive, (route) => route.fulfill({ status: 410, contentType: 'application/problem+json', body: JSON.stringify(refusal) }))
      await page.getByRole('button', { name: 'Download as zip' }).click()
      await isShown(page.getByText(/the bytes of survey\.csv were let go/))
      await page.unroute(archive)
      await openDataset(world, 'survey.csv', '?tab=access')
      await page.getByRole('button', { name: 'Make a link' }).click()
      const link = (await page.locator('.mono').filter({ hasText: '/dl/' }).textContent()) ?? ''
      check((await (await fetch(link)).text()) === SURVEY, 'the link gives the bytes without a token')
      check(!(await fetch(link)).ok, 'and only once')
      await world.accessible()
    },
  },
  {
    name: 'data: a collection opens as its datasets',
    run: async (world) => {
      await stocked(world)
      const { page } = world
      await world.open('/collections')
      await world.accessible()
      await world.shot('list')
      await page.getByRole('link', { name: 'Readings' }).click()
      await isShown(page.getByText(`${READINGS.toLocaleString('en-GB')} datasets`))
      check(page.url().includes('collection=Readings'), 'the address says so')
    },
  },
  {
    name: 'data: runs queue behind a button, one has its items and times',
    run: async (world) => {
      await stocked(world)
      const { page } = world
      await world.open('/runs?flow=weights')
      await isShown(rows(world, 'Runs'))
      const before = await rows(world, 'Runs').count()
      drop(world, 'weights', `late-${Date.now()}.txt`, '7\n')
      const news = page.getByRole('button', { name: /^\d+ new$/ })
      await isShown(news)
      check((await rows(world, 'Runs').count()) === before, 'nothing moves by itself')
      await world.accessible()
      await news.click()
      await until('the new run is shown', async () => (await rows(world, 'Runs').count()) === before + 1)
      await page.keyboard.press('Escape')
      // What is chosen is chosen by the server.
      const state = page.getByRole('combobox', { name: 'State' })
      await state.click()
      await page.getByRole('option', { name: 'with dead letters' }).click()
      await until('those that went well are not listed', async () => (await rows(world, 'Runs').count()) === before)
      await page.getByRole('searchbox', { name: 'Search runs' }).fill('no such run')
      await isShown(page.getByText('Nothing fits'))
      await page.getByRole('button', { name: 'Show all runs' }).click()
      await world.open('/runs?flow=weights')
      await isShown(rows(world, 'Runs'))
      await rows(world, 'Runs').last().getByRole('link').first().click()
      const numbers = page.getByRole('region', { name: 'Numbers by processor' })
      await isShown(numbers.getByRole('row').filter({ hasText: 'weigh' }))
      const tree = page.getByRole('tree', { name: 'Items of the run' })
      await isShown(tree.getByRole('treeitem').filter({ hasText: 'good.txt' }))
      await isShown(tree.getByRole('treeitem').filter({ hasText: 'bad-1.txt' }).getByText('Failed'))
      await tree.getByRole('treeitem').filter({ hasText: 'good.txt' }).click()
      await isShown(page.getByRole('complementary', { name: 'The chosen item' }).getByText('3.75'))
      await world.accessible()
      await world.shot('items')
      await page.getByRole('tab', { name: 'Timeline' }).click()
      await isShown(page.getByRole('region', { name: 'Steps in time' }).getByRole('listitem').filter({ hasText: 'weigh' }))
      await world.accessible()
      await world.shot('timeline')
    },
  },
  {
    name: 'data: what arrived before is sent in again from the page, and asked to stop there',
    run: async (world) => {
      const { page } = world
      const flow = (code: string) => `name: Again\nprocessors:\n  - { id: inbox, type: ingest, phase: 1, source: { type: file_drop, path: ./inbox, settle: 0s } }\n  - { id: work, type: script, phase: 2, inputs: [inbox], memo: never, concurrency: 1, code: "${code}" }\n  - { id: shelf, type: collect, phase: 3, inputs: [work], collection: Again }\n`
      await enable(world, 'again', flow('def process(text: str) -> str:\\n    return text\\n'))
      for (let at = 0; at < MANY; at += 1) drop(world, 'again', `note-${at}.txt`, `note ${at}\n`)
      await until('they are collected', async () => {
        const { rows } = await world.api<{ rows: { name: string; datasets: number }[] }>('GET', '/collections')
        return rows.some((row) => row.name === 'Again' && row.datasets >= MANY)
      })
      await enable(world, 'again', flow('import time\\n\\ndef process(text: str) -> str:\\n    time.sleep(0.02)\\n    return text.upper()\\n'))
      await world.open('/flows?q=again')
      await page.getByRole('button', { name: 'More for Again' }).click()
      await page.getByRole('menuitem', { name: 'Reprocess…' }).click()
      const dialog = page.getByRole('dialog', { name: 'Reprocess Again' })
      await isShown(dialog.getByRole('row').filter({ hasText: 'work' }))
      await world.accessible()
      await world.both('plan')
      await dialog.getByRole('button', { name: `Send ${MANY.toLocaleString('en-GB')} items in again` }).click()
      await page.waitForURL('**/runs/*')
      await isShown(page.getByText('reprocess', { exact: true }))
      await page.getByRole('button', { name: 'Stop', exact: true }).click()
      await page.getByRole('dialog').getByRole('button', { name: 'Stop it' }).click()
      // Only beyond 20,000 items under way would a part wait to be sent in, and be stopped.
      await isShown(page.getByText('All was sent in already; it ends by itself'))
      await isShown(page.getByText('Done', { exact: true }))
      const run = await world.api<{ arrivals: number; revisions: number }>('GET', `/runs/${page.url().split('/').at(-1)}`)
      check(run.arrivals === MANY && run.revisions === MANY, `all of them came to their end: ${JSON.stringify(run)}`)
      check((await page.getByRole('button', { name: 'Stop', exact: true }).count()) === 0, 'what has ended is not stopped')
    },
  },
  {
    name: 'data: dead letters by error: looked at, discarded, mended and retried',
    run: async (world) => {
      await stocked(world)
      const { page } = world
      await enable(world, 'weights', weights(BROKEN))
      await world.open('/dead-letters?flow=weights')
      const group = (error: string) => rows(world, 'Errors').filter({ hasText: error })
      await isShown(group('ValueError'))
      check((await group('ValueError').textContent())?.includes('…'), 'what differs is left out of the message')
      await world.accessible()
      await world.shot('groups')
      await group('ValueError').getByRole('link', { name: 'ValueError' }).click()
      const letter = page.getByRole('region', { name: /^Dead letter bad-/ })
      await isShown(letter)
      await isShown(letter.getByText(BROKEN))
      await isShown(letter.getByText(/weighing bad-/))
      await isShown(letter.getByText(/n\/a \d/))
      check((await letter.getByRole('link', { name: 'Fix' }).getAttribute('href'))?.includes('sample=dead_letter%3A'), 'Fix takes the letter along')
      await world.accessible()
      await world.shot('letter')
      const first = await letter.getAttribute('aria-label')
      await page.keyboard.press(']')
      await until('the next letter', async () => (await page.getByRole('region', { name: /^Dead letter/ }).getAttribute('aria-label')) !== first)

      // Retried as it is, it fails again.
      await page.keyboard.press('r')
      await isShown(page.getByRole('status').filter({ hasText: 'It failed again' }))
      await page.getByRole('button', { name: 'Close the progress of the retry' }).click()

      // The other error is given up, with a reason.
      // The way back keeps what was asked for.
      await page.locator('a[href="/dead-letters?flow=weights"]').click()
      await group('KeyError').getByRole('button', { name: 'Discard' }).click()
      const dialog = page.getByRole('dialog')
      check(await dialog.getByRole('button', { name: /^Discard/ }).isDisabled(), 'not without a reason')
      await dialog.getByLabel('Reason').fill('no such animal')
      await world.accessible()
      await dialog.getByRole('button', { name: /^Discard/ }).click()
      await group('KeyError').waitFor({ state: 'detached' })
      await page.getByRole('tab', { name: /^All/ }).click()
      await isShown(rows(world, 'Dead letters').filter({ hasText: 'no such animal' }))
      await world.accessible()

      // Mended, all of the group go through.
      await enable(world, 'weights', weights(MENDED))
      await page.getByRole('tab', { name: /^Open/ }).click()
      await group('ValueError').getByRole('button', { name: 'Retry' }).click()
      await isShown(page.getByRole('status').filter({ hasText: 'All 6 went through' }))
      await isShown(page.getByText('Nothing like that failed'))
      check((await letters(world)).length === 0, 'no letter is open any more')
      await world.shot('retried')
    },
  },
  {
    name: 'data: the input of a dead letter is edited, and its history tells',
    run: async (world) => {
      const { page } = world
      await enable(world, 'typos', weights(BROKEN, 'Typos'))
      const name = `typo-${Date.now()}`
      drop(world, 'typos', `${name}.txt`, '3.7S\n')
      const letter = await until('it failed', async () => (await letters(world, 'typos')).find((one) => one.item.name === `${name}.txt`))
      await world.open(`/dead-letters?letter=${letter.id}`)
      await page.getByRole('button', { name: 'Edit input' }).click()
      const dialog = page.getByRole('dialog')
      const send = dialog.getByRole('button', { name: 'Retry with this' })
      check(await send.isDisabled(), 'not as it is')
      await dialog.getByRole('textbox', { name: `Input ${name}.txt` }).click()
      await page.keyboard.press('ControlOrMeta+A')
      await page.keyboard.type('3.75')
      await world.accessible()
      await send.click()
      await isShown(page.getByRole('status').filter({ hasText: 'It went through' }))
      const dataset = await datasetId(world, `${name}.csv`, 'Typos')
      check((await world.bytes(`/datasets/${dataset}/content`)).toString() === 'mass,3.75\n', 'what was typed went through')
      await world.open(`/datasets/${dataset}?tab=history`)
      await isShown(page.getByText('edited its input'))
      await world.accessible()
      await world.shot('history')
    },
  },
  {
    name: 'data: settings of this browser last, and the server says how it is',
    run: async (world) => {
      const { page } = world
      await world.open('/settings')
      await isShown(page.getByText('Everything works'))
      const grace = page.getByRole('table', { name: 'Settings of the server' }).getByRole('row').filter({ hasText: '--grace' })
      await isShown(grace.getByText(/How long what is in work/))
      await world.accessible()
      await page.getByRole('button', { name: 'Dark' }).click()
      await page.getByRole('switch', { name: 'Keys of a single letter' }).uncheck()
      await page.reload()
      await isShown(page.getByText('Everything works'))
      check((await page.locator('html').getAttribute('data-theme')) === 'dark', 'the theme lasts')
      await page.keyboard.press('g')
      await page.keyboard.press('d')
      check(page.url().endsWith('/settings'), 'single letters do nothing any more')
      await page.getByRole('switch', { name: 'Keys of a single letter' }).check()
      await page.getByRole('heading', { level: 1 }).click()
      await page.keyboard.press('g')
      await page.keyboard.press('d')
      await page.waitForURL('**/datasets')
      const [api] = await Promise.all([page.request.get(`${world.url}/api/v1/openapi.json`)])
      check(api.ok(), 'the API reference is there')
    },
  },
]
