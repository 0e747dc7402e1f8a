// What a journey has at hand: a page that is signed in, the API, the command line, pictures, and a check of accessibility.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { promisify } from 'node:util'
import type { Browser, BrowserContext, Locator, Page } from 'playwright-core'

export interface Journey {
  name: string
  run: (world: World) => Promise<void>
}

export interface World {
  page: Page
  context: BrowserContext
  url: string
  /** The folder that the server was started in; flows without a base live in a folder of their name below it. */
  root: string
  slug: string
  /** What the browser's console said. */
  told: string[]
  /** Words that are printed with the outcome of the journey. */
  tell: (words: string) => void
  /** Asks the server as a program does; throws what it refuses. */
  api: <T = unknown>(method: string, path: string, body?: unknown) => Promise<T>
  /** Bytes of the server. */
  bytes: (path: string) => Promise<Buffer>
  /** Runs `opendmp` on the server's data directory; answers what it printed. */
  cli: (...args: string[]) => Promise<string>
  /** Goes to a page of the server and waits until it stands. */
  open: (path: string) => Promise<void>
  shot: (name: string) => Promise<void>
  /** A picture in each theme; the light one is on afterwards. */
  both: (name: string) => Promise<void>
  /** axe-core finds nothing that WCAG 2.2 AA or good practice objects to, in both themes. */
  accessible: () => Promise<void>
  /** Nothing went wrong unnoticed: no script broke, no policy refused anything. */
  settle: () => void
}

export const BASE = process.env.OPENDMP_URL ?? 'http://127.0.0.1:7117'
const TOKEN = process.env.OPENDMP_TOKEN ?? ''
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const run = promisify(execFile)

/** As long as anything may take. */
export const PATIENCE = 20_000

export async function worldOf(browser: Browser, shots: string, name: string, tell: (words: string) => void = () => {}): Promise<World> {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: 'reduce', colorScheme: 'light', acceptDownloads: true })
  const page = await context.newPage()
  page.setDefaultTimeout(PATIENCE)
  const told: string[] = []
  const broken: string[] = []
  page.on('pageerror', (error) => broken.push(`a script broke: ${error.message}`))
  page.on('console', (message) => {
    told.push(`${message.type()}: ${message.text()}`)
    if (/Content Security Policy|Refused to (apply|load|execute|connect|frame)/.test(message.text())) broken.push(message.text())
  })
  // The cookie that a link with the token gives.
  if (TOKEN) await context.request.get(`${BASE}/?token=${encodeURIComponent(TOKEN)}`, { headers: { accept: 'text/html' } })
  const slug = name.toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '')
  const send = async (method: string, path: string, body?: unknown): Promise<Response> => {
    const response = await fetch(`${BASE}/api/v1${path}`, {
      method,
      headers: { authorization: `Bearer ${TOKEN}`, ...(body !== undefined && { 'content-type': 'application/json' }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`)
    return response
  }
  const root = process.env.OPENDMP_ROOT ?? process.cwd()
  const shot = async (as: string) => {
    if (shots) await page.screenshot({ path: `${shots}/${slug}-${as}.png` })
  }
  return {
    page, context, url: BASE, root, slug, told, tell,
    api: async <T,>(method: string, path: string, body?: unknown) => {
      const text = await (await send(method, path, body)).text()
      return (text === '' ? undefined : JSON.parse(text)) as T
    },
    bytes: async (path) => Buffer.from(await (await send('GET', path)).arrayBuffer()),
    cli: async (...args) => (await run(process.env.OPENDMP_BINARY ?? 'opendmp', ['--data-dir', `${root}/data`, ...args], { timeout: 120_000 })).stdout,
    open: async (path) => {
      await page.goto(BASE + path)
      await page.locator('h1').first().waitFor()
    },
    shot,
    both: async (as) => {
      for (const scheme of ['dark', 'light'] as const) {
        await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' })
        await page.locator(`html[data-theme="${scheme}"]`).waitFor()
        await still(page)
        await shot(`${as}-${scheme}`)
      }
    },
    accessible: async () => {
      for (const scheme of ['dark', 'light'] as const) {
        await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' })
        await page.locator(`html[data-theme="${scheme}"]`).waitFor()
        await still(page)
        await page.evaluate(axe)
        const found = await page.evaluate(async () => {
          type Axe = { run: (what: Document, options: object) => Promise<{ violations: { id: string; nodes: { html: string; failureSummary?: string }[] }[] }> }
          const { violations } = await (window as unknown as { axe: Axe }).axe.run(document, {
            runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
            // Experimental in axe: it takes the keys in a button, and a badge that is not shown, for part of its label.
            rules: { 'label-content-name-mismatch': { enabled: false } },
          })
          return violations.map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} ${node.failureSummary ?? ''}`).join(' | ')}`)
        })
        if (found.length > 0) throw new Error(`in ${scheme}, axe finds\n${found.join('\n')}`)
      }
    },
    settle: () => {
      if (broken.length > 0) throw new Error(broken.join('\n'))
    },
  }
}

/** Waits until the page looks the same over two frames: nothing is on its way to another colour, and nothing comes or goes. */
export async function still(page: Page): Promise<void> {
  await page.waitForFunction(() => {
    const looks = () => {
      const all = [...document.querySelectorAll<HTMLElement>('body, body *')]
      return all.map((element) => {
        const { color, backgroundColor, borderTopColor, opacity } = getComputedStyle(element)
        return `${color} ${backgroundColor} ${borderTopColor} ${opacity}`
      }).join('|')
    }
    // What turns until something is there has no end to wait for.
    const moves = () => document.getAnimations().some((one) => one.playState === 'running' && one.effect?.getComputedTiming().iterations !== Infinity)
    const frame = () => new Promise((go) => requestAnimationFrame(go))
    return (async () => {
      if (moves()) return false
      const before = looks()
      await frame()
      const between = looks()
      await frame()
      return !moves() && before === between && between === looks()
    })()
  }, undefined, { polling: 'raf', timeout: PATIENCE })
}

/** Waits until a locator's computed `transform` is the same over two frames. */
export async function rests(locator: Locator): Promise<void> {
  await until('it moves no more', () => locator.first().evaluate(async (element) => {
    const seen: string[] = []
    for (let at = 0; at < 3; at += 1) {
      seen.push(getComputedStyle(element).transform)
      await new Promise((go) => requestAnimationFrame(go))
    }
    return seen.every((one) => one === seen[0])
  }))
}

/** Fails with words. */
export function check(holds: unknown, words: string): asserts holds {
  if (!holds) throw new Error(words)
}

/** Polls until something holds; a step that waits for the server's work uses it in place of a sleep. */
export async function until<T>(words: string, look: () => Promise<T | undefined | false>): Promise<T> {
  const end = Date.now() + PATIENCE
  let last: unknown
  while (Date.now() < end) {
    try {
      const found = await look()
      if (found !== undefined && found !== false) return found
    } catch (error) {
      last = error
    }
    await new Promise((go) => setTimeout(go, 100))
  }
  throw new Error(`waited in vain: ${words}${last instanceof Error ? ` (${last.message})` : ''}`)
}

export const isShown = (locator: Locator): Promise<void> => locator.first().waitFor({ state: 'visible', timeout: PATIENCE })
