// The first quarter of an hour: from a data directory that is not there yet to an own dataset, with every click and key counted.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Page } from 'playwright-core'
import { check, isShown, type Journey } from './harness'

/** Fewer than this. */
const MOST = 20

const SCRIPT = `import csv
import io

def process(text: str) -> str:
    rows = csv.reader(io.StringIO(text))
    return str(sum(float(mass) for _, mass in rows)) + "\\n"
`

/** A server of its own, whose data directory it makes itself; answers a link that opens its page once. */
async function serve(folder: string): Promise<{ link: string; child: ChildProcess }> {
  const opendmp = process.env.OPENDMP_BINARY ?? 'opendmp'
  const child = spawn(opendmp, ['serve', '--listen', '127.0.0.1:0', '--data-dir', 'data'], { cwd: folder, stdio: ['ignore', 'pipe', 'ignore'] })
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('listening on ')) continue
    const said = execFileSync(opendmp, ['token', '--link', '--data-dir', 'data'], { cwd: folder, encoding: 'utf8' })
    const link = /http:\S+/.exec(said)?.[0]
    if (link !== undefined) return { link, child }
  }
  throw new Error('the server ended before it was ready')
}

/**
 * Counts what a person does on the page: each press of the pointer, each key (a key with Ctrl is one; so is a paste, however
 * much is pasted), and each file that is chosen in the browser's own dialog. Nothing that the browser did not get as input
 * counts, so a journey that counts must not `fill`.
 */
async function counting(page: Page): Promise<{ done: () => string[] }> {
  const acts: string[] = []
  await page.exposeFunction('countedByJourney', (act: string) => void acts.push(act))
  await page.addInitScript(() => {
    const counted = (act: string) => void (window as unknown as { countedByJourney: (act: string) => void }).countedByJourney(act)
    const named = (event: Event) => {
      const element = (event.target as HTMLElement).closest('[aria-label],button,a,[role],input,textarea')
      return (element?.getAttribute('aria-label') ?? element?.textContent ?? element?.tagName ?? '').trim().slice(0, 30)
    }
    window.addEventListener('pointerdown', (event) => event.isTrusted && counted(`click ${named(event)}`), { capture: true })
    window.addEventListener('keydown', (event) => {
      if (!event.isTrusted || ['Control', 'Shift', 'Alt', 'Meta'].includes(event.key)) return
      counted(`key ${event.ctrlKey ? 'Ctrl ' : ''}${event.shiftKey ? 'Shift ' : ''}${event.key}`)
    }, { capture: true })
  })
  return { done: () => [...acts] }
}

export const journeys: Journey[] = [
  {
    name: 'first: from nothing to an own dataset in fewer than twenty clicks and keys',
    run: async ({ page, context, both, tell }) => {
      const folder = mkdtempSync(join(tmpdir(), 'opendmp-first-'))
      writeFileSync(join(folder, 'monday.csv'), 'kelp,3\nmussel,12\n')
      writeFileSync(join(folder, 'tuesday.csv'), 'kelp,4\nmussel,9\n')
      check(readdirSync(folder).length === 2, 'there is no data directory yet')
      // The other server's cookie has the same name, and a cookie knows no port.
      await context.clearCookies()
      const { link, child } = await serve(folder)
      try {
        const { done } = await counting(page)
        let chosen = 0
        const choose = async (file: string, click: () => Promise<void>) => {
          const [chooser] = await Promise.all([page.waitForEvent('filechooser'), click()])
          await chooser.setFiles(join(folder, file))
          chosen += 1
        }
        const { origin } = new URL(link)
        await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin })
        await page.goto(link)
        await isShown(page.getByText('Drop your script in'))
        check((await page.getByRole('table', { name: 'Flows' }).locator('[data-index]').count()) === 0, 'no flow is there')
        await both('nothing')
        // What is copied from an editor elsewhere is on the clipboard, without a touch of this page.
        await page.evaluate((text) => navigator.clipboard.writeText(text), SCRIPT)

        await page.getByRole('button', { name: 'Bring a script' }).click()
        const dialog = page.getByRole('dialog', { name: 'Bring a script' })
        await isShown(dialog.locator('.cm-focused'))
        await page.keyboard.press('Control+a')
        await page.keyboard.press('Control+v')
        await isShown(dialog.getByText('csv.reader'))
        await choose('monday.csv', () => dialog.getByRole('button', { name: 'File', exact: true }).click())
        await isShown(dialog.getByRole('status').getByText('Done'))
        await isShown(dialog.getByText('15.0'))
        await both('tried')
        await dialog.getByRole('textbox', { name: 'Flow' }).click()
        await page.keyboard.type('Sums')
        await page.keyboard.press('Enter')
        await page.waitForURL('**/flows/sums?*')
        await isShown(page.getByRole('complementary', { name: 'Processor script' }))
        await page.getByRole('button', { name: 'Enable', exact: true }).click()
        await page.getByRole('dialog', { name: 'Enable Sums' }).getByRole('button', { name: 'Enable' }).click()
        await isShown(page.getByText(/Sums is enabled/))
        await page.locator('[data-card="inbox"]').click()
        const inbox = page.getByRole('region', { name: 'Files for this ingest' })
        await isShown(inbox)
        await choose('tuesday.csv', () => inbox.getByRole('button', { name: 'Choose files for the folder' }).click())
        await isShown(page.getByRole('region', { name: 'List of recent items' }).getByText('tuesday.csv'))
        await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Datasets' }).click()
        await page.getByRole('table', { name: 'Datasets' }).getByRole('link', { name: /^tuesday/ }).click()
        await isShown(page.getByRole('heading', { level: 1, name: /^tuesday/ }))
        await isShown(page.getByRole('main').getByText('13.0'))
        await both('dataset')

        const acts = [...done(), ...Array.from({ length: chosen }, () => 'file chosen')]
        tell(`${acts.length} clicks and keys: ${acts.join(', ')}`)
        check(done().filter((act) => act.startsWith('click')).length >= 8, 'the clicks were counted')
        check(done().filter((act) => act.startsWith('key')).length >= 7, 'and the keys')
        check(acts.length < MOST, `${acts.length} clicks and keys are not fewer than ${MOST}`)
        const stopped = once(child, 'exit')
        child.kill('SIGINT')
        check((await stopped)[0] === 0, 'the server ends well')
      } finally {
        child.kill('SIGKILL')
        rmSync(folder, { recursive: true, force: true })
      }
    },
  },
]
