// Flows: the list, the canvas, the text, drafts, and what is enabled in the end.
import { mkdirSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Locator, Page } from 'playwright-core'
import { check, isShown, type Journey, rests, until, worldOf, type World } from './harness'

interface Draft {
  text: string
  etag: string
}

/** A flow that shouts, with a comment that must outlive every edit. */
const shouting = (name: string) => `# kept by the library
name: ${name}
processors:
  - id: inbox
    type: ingest
    phase: 1
    source: { type: file_drop, path: ./inbox, pattern: "*.txt", settle: 0s }   # what lands here

  - id: shout
    type: script
    phase: 2
    inputs: [inbox]
    language: python
    code: |
      def process(text: str) -> str:
          return text.upper()

  - id: shelf
    type: collect
    phase: 3
    inputs: [shout]
    collection: ${name}
`

async function enabled(world: World, text: string): Promise<string> {
  const slug = /^name: (.*)$/m.exec(text)?.[1]?.toLowerCase().replace(/[^a-z0-9]+/g, '-') ?? ''
  const base = `${world.root}/${slug}`
  mkdirSync(`${base}/inbox`, { recursive: true })
  writeFileSync(`${base}/flow.yaml`, text)
  // What an earlier run of the journeys left.
  const left = await draft(world, slug).catch(() => undefined)
  if (left) await fetch(`${world.url}/api/v1/drafts/${slug}`, { method: 'DELETE', headers: { authorization: `Bearer ${process.env.OPENDMP_TOKEN}`, 'if-match': `"${left.etag}"` } })
  await world.cli('flows', 'enable', `${base}/flow.yaml`)
  return slug
}

const drop = (world: World, slug: string, name: string, text: string) => writeFileSync(`${world.root}/${slug}/inbox/${name}`, text)

const draft = (world: World, slug: string) => world.api<Draft>('GET', `/drafts/${encodeURIComponent(slug)}`)

const card = (page: Page, id: string) => page.locator(`[data-card="${id}"]`)

/** Waits until what is on the page is kept on the server. */
const saved = (page: Page) => isShown(page.getByText(/^Draft saved/))

/** Draws from a port to a card. */
async function draw(page: Page, from: Locator, to: Locator) {
  const a = await from.boundingBox()
  const b = await to.boundingBox()
  check(a && b, 'both ends are there')
  await page.mouse.move(a.x + a.width / 2, a.y + a.height / 2)
  await page.mouse.down()
  await page.mouse.move(a.x + a.width / 2 + 20, a.y + a.height / 2 + 5, { steps: 4 })
  await page.mouse.move(b.x + b.width / 2, b.y + b.height / 2, { steps: 12 })
  await page.mouse.up()
}

const port = (page: Page, id: string, name = 'out') => card(page, id).locator(`.react-flow__handle-right[data-handleid="${name}"]`)
const input = (page: Page, id: string) => card(page, id).locator('.react-flow__handle-left')

/** The editor's text, typed anew. */
async function write(page: Page, editor: Locator, text: string) {
  await editor.click()
  await page.keyboard.press('Control+a')
  await page.keyboard.press('Delete')
  await page.keyboard.insertText(text)
}

export const journeys: Journey[] = [
  {
    name: 'flows: live numbers on the canvas, and what went through',
    run: async (world) => {
      const { page, open, shot } = world
      const slug = await enabled(world, shouting('Live numbers'))
      await open(`/flows/${slug}`)
      await isShown(card(page, 'shout'))
      for (let at = 0; at < 5; at += 1) drop(world, slug, `note-${at}.txt`, `hello ${at}`)
      await until('the card counts them', async () => /5\s*collected/.test((await card(page, 'shelf').textContent()) ?? ''))
      await isShown(page.getByRole('region', { name: 'List of recent items' }).getByText('note-4.txt'))
      await isShown(page.getByRole('definition').filter({ hasText: /^5$/ }).first())
      await shot('canvas')
      await page.getByRole('tab', { name: 'List' }).click()
      await isShown(page.getByRole('row', { name: /shout.*script/ }))
      await page.getByRole('tab', { name: 'Plan' }).click()
      await isShown(page.getByText('Stage 3'))
      await shot('plan')
    },
  },
  {
    name: 'flows: a flow is drawn, and its text keeps what was written',
    run: async (world) => {
      const { page, open, shot, accessible } = world
      const slug = await enabled(world, shouting('Drawn'))
      // By its name, as people type it, it is found under its own word.
      await open('/flows/Drawn')
      await until('the address is its own', async () => new URL(page.url()).pathname === `/flows/${slug}`)
      await isShown(card(page, 'shout'))
      // A processor by keyboard, which reads what is marked.
      await card(page, 'inbox').focus()
      await page.keyboard.press('ArrowRight')
      await until('the arrow goes to the next card', async () => (await page.evaluate(() => (document.activeElement as HTMLElement).dataset.card)) === 'shout')
      await page.keyboard.press('a')
      const kinds = page.getByRole('dialog', { name: /^Add a processor/ })
      await kinds.getByRole('textbox').fill('compress')
      await page.keyboard.press('Enter')
      await isShown(page.getByRole('complementary', { name: 'Processor compress' }))
      await shot('added')
      // Its form: a choice, a number that is too large, and again right.
      const panel = page.getByRole('complementary')
      await panel.getByRole('spinbutton', { name: 'level' }).fill('99')
      await isShown(panel.getByText(/level must be at most 19/))
      await panel.getByRole('spinbutton', { name: 'level' }).fill('3')
      await panel.getByRole('combobox', { name: 'format' }).click()
      await page.getByRole('option', { name: /^gzip/ }).click()
      await page.getByRole('button', { name: 'Close compress' }).click()
      // Drawn to the shelf.
      await page.keyboard.press('Escape')
      await draw(page, port(page, 'compress'), input(page, 'shelf'))
      await until('the text has it', async () => /inputs: \[shout, compress\]/.test((await draft(world, slug)).text))
      const { text } = await draft(world, slug)
      check(text.startsWith('# kept by the library\n'), 'the first comment stays')
      check(text.includes('settle: 0s }   # what lands here'), 'and the one beside the source, as it stood')
      check(/- id: compress\n {4}type: compress\n {4}phase: 3\n {4}inputs: \[shout\]\n {4}format: gzip\n {4}level: 3\n/.test(text), `the new processor is written as people write:\n${text}`)
      // What cannot be connected is said.
      await draw(page, port(page, 'compress'), input(page, 'shout'))
      await isShown(page.getByText(/Not connected: this would close a circle/))
      await accessible()
      // Back and forth, by keys.
      await card(page, 'shelf').focus()
      await page.keyboard.press('Control+z')
      await until('undone', async () => /inputs: \[shout\]\n {4}collection/.test((await draft(world, slug)).text))
      await page.keyboard.press('Control+Shift+z')
      await until('and redone', async () => /inputs: \[shout, compress\]/.test((await draft(world, slug)).text))
      // A copy, and away with both.
      await card(page, 'compress').click()
      await page.getByRole('button', { name: 'Close compress' }).click()
      await card(page, 'compress').focus()
      await page.keyboard.press('Control+d')
      await isShown(card(page, 'compress-2'))
      await card(page, 'compress').focus()
      await page.keyboard.press('Control+c')
      await page.keyboard.press('Control+v')
      await isShown(card(page, 'compress-3'))
      await card(page, 'compress-3').focus()
      await page.keyboard.press('Delete')
      await card(page, 'compress-3').waitFor({ state: 'detached' })
      await page.getByRole('button', { name: 'Undo', exact: true }).last().click()
      await isShown(card(page, 'compress-3'))
      await shot('drawn')
    },
  },
  {
    name: 'flows: a card is dragged to another phase',
    run: async (world) => {
      const { page, open } = world
      const slug = await enabled(world, shouting('Dragged'))
      await open(`/flows/${slug}`)
      const at = await card(page, 'shout').boundingBox()
      const to = await page.getByRole('button', { name: 'Add a processor to phase 3' }).boundingBox()
      check(at && to, 'card and lane are there')
      await page.mouse.move(at.x + 60, at.y + 20)
      await page.mouse.down()
      await page.mouse.move(to.x + 70, to.y - 40, { steps: 12 })
      await page.mouse.up()
      await until('it is of phase 3', async () => /id: shout\n {4}type: script\n {4}phase: 3/.test((await draft(world, slug)).text))
      check((await page.getByRole('complementary').count()) === 0, 'dragging opens nothing')
    },
  },
  {
    name: 'flows: the text, its mistakes at their place, and enabling with what differs in sight',
    run: async (world) => {
      const { page, open, shot, accessible } = world
      const slug = await enabled(world, shouting('Written'))
      await open(`/flows/${slug}?tab=yaml`)
      const editor = page.getByRole('textbox', { name: 'The flow as YAML' })
      await isShown(editor)
      await write(page, editor, shouting('Written').replace('pattern:', 'patern:'))
      const list = page.getByRole('list', { name: 'What the server says of it' })
      await isShown(list.getByText(/did you mean `pattern`/))
      await isShown(page.locator('.cm-lintRange-error'))
      await shot('mistake')
      await accessible()
      await page.keyboard.press('Control+Shift+E')
      const dialog = page.getByRole('dialog', { name: /^Enable/ })
      await isShown(dialog.getByText(/It has 1 error/))
      check(await dialog.getByRole('button', { name: 'Enable' }).isDisabled(), 'what is wrong is not enabled')
      await page.keyboard.press('Escape')
      // Broken YAML: the canvas stays, and says so.
      await write(page, editor, 'name: [')
      await isShown(page.getByText(/The YAML is broken at line 1/))
      await page.keyboard.press('Control+z')
      await write(page, editor, shouting('Written').replace('text.upper()', 'text.upper() + "!"'))
      await saved(page)
      await until('nothing is wrong', async () => (await list.getByText('error', { exact: true }).count()) === 0)
      await page.getByRole('tab', { name: /Changes/ }).click()
      await isShown(page.getByRole('list', { name: 'What differs' }).getByText('~ shout: code'))
      await shot('changes')
      await page.keyboard.press('Control+Shift+E')
      await isShown(dialog.getByText('~ shout: code'))
      await dialog.getByRole('button', { name: 'Enable' }).click()
      await isShown(page.getByText(/Written is enabled, version/))
      await isShown(page.getByText('No changes'))
      drop(world, slug, 'a.txt', 'loud')
      const content = await until('the new version works', async () => {
        const { rows } = await world.api<{ rows: { id: string }[] }>('GET', `/datasets?flow=${slug}`)
        return rows[0] && (await world.bytes(`/datasets/${rows[0].id}/content`)).toString()
      })
      check(content === 'LOUD!', `it shouts louder: ${content}`)
      check(await world.api('GET', `/drafts/${slug}`).then(() => false, () => true), 'the draft is gone')
    },
  },
  {
    name: 'flows: two people change one draft',
    run: async (world) => {
      const { page, context, shot } = world
      const slug = await enabled(world, shouting('Shared'))
      const other = await worldOf(context.browser() ?? (() => { throw new Error('no browser') })(), '', 'other')
      for (const { open: go } of [world, other]) await go(`/flows/${slug}?tab=yaml`)
      const [mine, theirs] = [page, other.page].map((one) => one.getByRole('textbox', { name: 'The flow as YAML' })) as [Locator, Locator]
      await write(other.page, theirs, shouting('Shared').replace('# kept by the library', '# theirs'))
      await saved(other.page)
      await write(page, mine, shouting('Shared').replace('# kept by the library', '# mine'))
      await isShown(page.getByText(/saved this draft at .*while you were changing it/))
      await page.getByRole('button', { name: 'Compare' }).click()
      await isShown(page.getByRole('dialog').getByText('# theirs'))
      await shot('conflict')
      await page.getByRole('dialog').getByRole('button', { name: 'Keep mine' }).click()
      await saved(page)
      check((await draft(world, slug)).text.startsWith('# mine'), 'mine is kept')
      await write(other.page, theirs, shouting('Shared').replace('# kept by the library', '# theirs again'))
      await isShown(other.page.getByText(/while you were changing it/))
      await other.page.getByRole('button', { name: 'Take theirs' }).click()
      await isShown(theirs.getByText('# mine'))
      await other.context.close()
    },
  },
  {
    name: 'flows: the list, from disabling to export, import and deletion',
    run: async (world) => {
      const { page, open, shot } = world
      const slug = await enabled(world, shouting('Listed'))
      await open('/flows?q=listed')
      const row = page.getByRole('row', { name: /Listed/ })
      await isShown(row.getByText('Enabled'))
      drop(world, slug, 'seen.txt', 'seen')
      await until('what it did lately is drawn', async () => {
        await page.reload()
        await row.getByRole('img', { name: '1 item in 24 hours' }).waitFor({ timeout: 2000 })
        return true
      })
      const menu = async (item: string | RegExp) => {
        await row.getByRole('button', { name: 'More for Listed' }).click()
        await page.getByRole('menuitem', { name: item }).click()
      }
      await menu('Disable…')
      await page.getByRole('dialog').getByRole('button', { name: 'Disable' }).click()
      await isShown(row.getByText('Disabled'))
      await menu('Enable')
      await isShown(row.getByText('Enabled'))
      const download = page.waitForEvent('download')
      await menu('Export YAML')
      const file = await (await download).path()
      const text = await readFile(file, 'utf8')
      check(text === shouting('Listed'), 'what is exported is what was written')
      await menu('Delete…')
      await shot('delete')
      await page.getByRole('dialog').getByRole('button', { name: 'Delete flow' }).click()
      await isShown(page.getByText('Listed is deleted'))
      await until('it is gone', async () => (await world.api<{ rows: { flow: string }[] }>('GET', '/flows')).rows.every((one) => one.flow !== slug))
      await open('/flows')
      await page.getByRole('button', { name: 'Import' }).click()
      await page.getByRole('dialog').locator('input[type=file]').setInputFiles({ name: 'listed.yaml', mimeType: 'application/yaml', buffer: Buffer.from(text.replace('name: Listed', 'name: Listed again')) })
      await page.getByRole('dialog').getByRole('button', { name: 'Import as a draft' }).click()
      await page.waitForURL('**/flows/listed-again')
      await isShown(card(page, 'shout'))
      await page.getByRole('button', { name: 'More for Listed again' }).click()
      await page.getByRole('menuitem', { name: 'Discard the draft…' }).click()
      await page.getByRole('dialog').getByRole('button', { name: 'Discard draft' }).click()
      await page.waitForURL('**/flows')
    },
  },
  {
    name: 'flows: from a template, named and described; a new step has samples of what would go in',
    run: async (world) => {
      const { page, open, accessible } = world
      const slug = await enabled(world, shouting('Sampled'))
      drop(world, slug, 'first.txt', 'hello')
      await until('it went through', async () => (await world.api<{ rows: unknown[] }>('GET', `/datasets?flow=${slug}`)).rows.length > 0)
      await open(`/flows/${slug}`)
      await card(page, 'shout').focus()
      await page.keyboard.press('a')
      await page.getByRole('dialog').getByRole('textbox').fill('split')
      await page.keyboard.press('Enter')
      await isShown(page.getByRole('button', { name: /^Sample: first/ }))
      await page.keyboard.press('Control+k')
      await page.getByRole('combobox', { name: 'Search or run a command' }).fill('name and')
      await page.keyboard.press('Enter')
      const dialog = page.getByRole('dialog', { name: 'Name and description' })
      await dialog.getByRole('textbox', { name: 'Description' }).fill('Shouts: "loudly"')
      await accessible()
      await dialog.getByRole('button', { name: 'Take over' }).click()
      await until('it is in the text', async () => (await draft(world, slug)).text.includes('loudly'))
      const { text } = await draft(world, slug)
      check(/description: .*Shouts: .*loudly/.test(text) && text.startsWith('# kept by the library\nname: Sampled\n'), `described where it stands:\n${text}`)
      await open('/flows')
      await page.getByRole('button', { name: 'From a template' }).click()
      const choice = page.getByRole('dialog', { name: 'New flow from a template' })
      await choice.getByRole('radio', { name: /^Sort by kind/ }).click()
      await choice.getByRole('textbox', { name: 'Name' }).fill('Sampled')
      await isShown(choice.getByText('Sampled is there already'))
      await choice.getByRole('textbox', { name: 'Name' }).fill(`Kinds ${Date.now()}`)
      await choice.getByRole('button', { name: 'Begin' }).click()
      await isShown(card(page, 'kind'))
      await isShown(card(page, 'kind').getByText('otherwise'))
    },
  },
  {
    name: 'flows: three hundred processors, of which only those in sight are drawn',
    run: async (world) => {
      const { page, open, shot } = world
      const steps = Array.from({ length: 298 }, (_, at) => `  - { id: step-${at}, type: compress, phase: ${2 + Math.floor(at / 30)}, inputs: [${at < 30 ? 'inbox' : `step-${at - 30}`}], format: zstd }\n`).join('')
      const text = `name: Three hundred\nprocessors:\n  - { id: inbox, type: ingest, phase: 1, source: { type: file_drop, path: ./inbox } }\n${steps}  - { id: shelf, type: collect, phase: 12, inputs: [step-297], collection: Many }\n`
      await fetch(`${world.url}/api/v1/drafts/three-hundred`, { method: 'PUT', headers: { authorization: `Bearer ${process.env.OPENDMP_TOKEN}`, 'content-type': 'application/json', 'if-none-match': '*' }, body: JSON.stringify({ text, files: {} }) })
      await open('/flows/three-hundred')
      await isShown(card(page, 'inbox'))
      check((await page.locator('[data-card]').count()) < 120, 'what is out of sight is not drawn')
      const begun = Date.now()
      await card(page, 'step-0').focus()
      for (let at = 0; at < 5; at += 1) await page.keyboard.press('ArrowDown')
      await until('the arrows go on', async () => (await page.evaluate(() => (document.activeElement as HTMLElement).dataset.card)) === 'step-5')
      check(Date.now() - begun < 6000, 'and are not slow')
      await page.getByRole('button', { name: 'Fit View' }).click()
      await until('all lanes are in sight', async () => (await page.locator('.react-flow__node-lane').count()) >= 12)
      await rests(page.locator('.react-flow__viewport'))
      check((await page.locator('[data-connections="299"]').count()) === 1, 'from far away all connections are drawn')
      await shot('far')
      const { etag } = await draft(world, 'three-hundred')
      await fetch(`${world.url}/api/v1/drafts/three-hundred`, { method: 'DELETE', headers: { authorization: `Bearer ${process.env.OPENDMP_TOKEN}`, 'if-match': `"${etag}"` } })
    },
  },
]
