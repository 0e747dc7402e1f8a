// How fast the page is: frames while three hundred processors count, the first view, and what it loads. Prints JSON on
// standard output, and on standard error how far it is. The server is the one that the environment names, as for `run.mjs`;
// it should be a release build, and nothing else should be busy. What it makes there is the flow `measured-page`, deleted at
// the end; its datasets stay. MEASURE_SECONDS (10) is how long frames are counted, MEASURE_RUNS (9) how often the first view
// is looked at, MEASURE_EVERY_MS (500) how often a file is dropped. MEASURE_PROFILE is a folder for CPU profiles.
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { chromium } from 'playwright-core'

const URL = process.env.OPENDMP_URL ?? 'http://127.0.0.1:7117'
const TOKEN = process.env.OPENDMP_TOKEN ?? ''
const ROOT = process.env.OPENDMP_ROOT ?? process.cwd()
const SECONDS = Number(process.env.MEASURE_SECONDS ?? 10)
const RUNS = Number(process.env.MEASURE_RUNS ?? 9)
const EVERY_MS = Number(process.env.MEASURE_EVERY_MS ?? 500)
const PROFILE = process.env.MEASURE_PROFILE
const PROCESSORS = 300
const CHAINS = 30
const FLOW = 'measured-page'
const SIZE = { width: 1440, height: 900 }

const say = (words) => console.error(words)
const pause = (ms) => new Promise((go) => setTimeout(go, ms))
const middle = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)]
const round = (value, digits = 1) => Math.round(value * 10 ** digits) / 10 ** digits

async function api(method, path, body) {
  const headers = { authorization: `Bearer ${TOKEN}`, ...(body !== undefined && { 'content-type': 'application/json' }) }
  const answer = await fetch(`${URL}/api/v1${path}`, { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) })
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`)
  const text = await answer.text()
  return text === '' ? undefined : JSON.parse(text)
}

const cli = async (...args) => (await promisify(execFile)(process.env.OPENDMP_BINARY ?? 'opendmp', ['--data-dir', `${ROOT}/data`, ...args], { timeout: 120_000 })).stdout

/** One ingest, chains that pack and unpack in turn, and a shelf for the first of them: an item goes through all of it. */
function flowText() {
  const steps = Array.from({ length: PROCESSORS - 2 }, (_, at) => {
    const row = Math.floor(at / CHAINS)
    const kind = row % 2 === 0 ? 'compress, format: zstd' : 'decompress'
    return `  - { id: step-${at}, type: ${kind}, phase: ${2 + row}, inputs: [${row === 0 ? 'inbox' : `step-${at - CHAINS}`}] }`
  })
  const rows = Math.ceil((PROCESSORS - 2) / CHAINS)
  return `name: Measured page
processors:
  - { id: inbox, type: ingest, phase: 1, source: { type: file_drop, path: ./inbox, settle: 0s } }
${steps.join('\n')}
  - { id: shelf, type: collect, phase: ${rows + 2}, inputs: [step-${(rows - 1) * CHAINS}], collection: Measured page }
`
}

async function signedIn(browser) {
  const context = await browser.newContext({ viewport: SIZE, colorScheme: 'light' })
  if (TOKEN) await context.request.get(`${URL}/?token=${encodeURIComponent(TOKEN)}`, { headers: { accept: 'text/html' } })
  return context
}

/** Drops a file every so often until the returned function is called; that answers how many. */
function dropping(folder) {
  let dropped = 0
  let on = true
  const loop = (async () => {
    let next = Date.now()
    while (on) {
      writeFileSync(`${folder}/.aside`, `item ${dropped} of ${process.pid}\n`.repeat(20))
      renameSync(`${folder}/.aside`, `${folder}/inbox/item-${process.pid}-${dropped}.txt`)
      dropped += 1
      next += EVERY_MS
      await pause(Math.max(0, next - Date.now()))
    }
  })()
  return async () => {
    on = false
    await loop
    return dropped
  }
}

/** Drags the canvas to and fro without a rest, and counts frames as the page itself is given them. */
async function frames(page, name) {
  const at = await page.evaluate(() => {
    // Where the canvas itself is, not a card.
    for (let y = 300; y < 600; y += 7) {
      for (let x = 500; x < 1000; x += 7) if (document.elementFromPoint(x, y)?.classList.contains('react-flow__pane')) return { x, y }
    }
    return undefined
  })
  if (!at) throw new Error('no place to drag the canvas at')
  const session = await page.context().newCDPSession(page)
  const cpu = async () => Object.fromEntries((await session.send('Performance.getMetrics')).metrics.map((one) => [one.name, one.value]))
  await session.send('Performance.enable')
  if (PROFILE) {
    await session.send('Profiler.enable')
    await session.send('Profiler.start')
  }
  const before = await cpu()
  await page.evaluate(({ at, seconds }) => new Promise((done) => {
    const seen = { times: [], facts: window.measuredFacts.length, long: 0, moved: 0 }
    window.measuredFrames = seen
    new PerformanceObserver((list) => (seen.long += list.getEntries().length)).observe({ type: 'longtask' })
    const viewport = document.querySelector('.react-flow__viewport')
    const mouse = (type, target, x, y) => target.dispatchEvent(new MouseEvent(type, { bubbles: true, cancelable: true, view: window, button: 0, buttons: type === 'mouseup' ? 0 : 1, clientX: x, clientY: y }))
    mouse('mousedown', document.elementFromPoint(at.x, at.y), at.x, at.y)
    let place = ''
    const next = (time) => {
      seen.times.push(time)
      // A circle, so that the canvas moves with every frame: harder than a hand, which rests and comes in fewer steps.
      const angle = seen.times.length / 25
      mouse('mousemove', window, at.x + 220 * Math.sin(angle), at.y + 160 * (1 - Math.cos(angle)))
      const now = viewport.style.transform
      if (now !== place) seen.moved += 1
      place = now
      if (time - seen.times[0] < seconds * 1000) return requestAnimationFrame(next)
      mouse('mouseup', window, at.x, at.y)
      done()
    }
    requestAnimationFrame(next)
  }), { at, seconds: SECONDS })
  const after = await cpu()
  const seen = await page.evaluate(() => {
    const { measuredFrames, measuredFacts } = window
    const facts = measuredFacts.slice(measuredFrames.facts)
    const counts = facts.map((text) => Object.values(JSON.parse(text).flows).filter(Boolean).flatMap((flow) => Object.entries(flow.processors)).map(([id, one]) => `${id} ${one.in} ${one.out}`))
    const changed = counts.slice(1).map((now, one) => now.filter((line) => !counts[one].includes(line)).length)
    return { times: measuredFrames.times, long: measuredFrames.long, moved: measuredFrames.moved, messages: facts.length, changed, cards: document.querySelectorAll('[data-card]').length, zoom: new DOMMatrix(getComputedStyle(document.querySelector('.react-flow__viewport')).transform).a }
  })
  if (PROFILE) {
    const { profile } = await session.send('Profiler.stop')
    mkdirSync(PROFILE, { recursive: true })
    writeFileSync(`${PROFILE}/${name}.cpuprofile`, JSON.stringify(profile))
  }
  await session.detach()
  const took = seen.times.slice(1).map((time, one) => time - seen.times[one])
  const sorted = took.toSorted((a, b) => a - b)
  const whole = (seen.times.at(-1) - seen.times[0]) / 1000
  const share = (metric) => round(((after[metric] - before[metric]) / SECONDS) * 100)
  return {
    fps: round(took.length / whole), p50_ms: round(sorted[Math.floor(sorted.length / 2)]), p99_ms: round(sorted[Math.floor(sorted.length * 0.99)]), worst_ms: round(sorted.at(-1)),
    seconds: round(whole), zoom: round(seen.zoom, 3), cards_drawn: seen.cards, frames: took.length, frames_moved: seen.moved, messages: seen.messages, processors_changed_median: middle(seen.changed) ?? 0, long_tasks: seen.long,
    main_thread_percent: { all: share('TaskDuration'), script: share('ScriptDuration'), style: share('RecalcStyleDuration'), layout: share('LayoutDuration') },
  }
}

async function canvas(browser) {
  const folder = `${ROOT}/${FLOW}`
  mkdirSync(`${folder}/inbox`, { recursive: true })
  writeFileSync(`${folder}/flow.yaml`, flowText())
  await cli('flows', 'enable', `${folder}/flow.yaml`)
  const context = await signedIn(browser)
  const stop = dropping(folder)
  try {
    const page = await context.newPage()
    await page.addInitScript(() => {
      window.measuredFacts = []
      const Source = window.EventSource
      window.EventSource = class extends Source {
        constructor(...all) {
          super(...all)
          this.addEventListener('facts', (event) => window.measuredFacts.push(event.data))
        }
      }
    })
    await page.goto(`${URL}/flows/${FLOW}`)
    await page.locator('[data-card="inbox"]').waitFor()
    await page.waitForFunction(() => window.measuredFacts.length > 20, undefined, { timeout: 60_000 })
    // Zoomed in to just 1.
    const zoom = () => page.evaluate(() => new DOMMatrix(getComputedStyle(document.querySelector('.react-flow__viewport')).transform).a)
    const session = await context.newCDPSession(page)
    for (let turn = 0; turn < 200 && Math.abs((await zoom()) - 1) > 0.01; turn += 1) {
      // A pinch, which zooms by 2^(-deltaY / 100) or so; as often as it takes.
      await session.send('Input.dispatchMouseEvent', { type: 'mouseWheel', x: 700, y: 450, deltaX: 0, deltaY: -Math.max(-20, Math.min(20, Math.log2(1 / (await zoom())) * 50)), modifiers: 2 })
      await pause(30)
    }
    await pause(500)
    say('zoomed in')
    const near = await frames(page, 'near')
    await page.getByRole('button', { name: 'Fit View' }).click()
    await pause(1000)
    say('zoomed out')
    const out = await frames(page, 'out')
    const live = await api('GET', `/flows/${FLOW}`)
    return { processors: PROCESSORS, dropped_every_ms: EVERY_MS, dropped: await stop(), outstanding_at_end: live.flow.outstanding, zoomed_in: near, zoomed_out: out }
  } finally {
    await stop()
    await context.close()
    await api('DELETE', `/flows/${FLOW}?work=drain`).catch((error) => say(String(error)))
    rmSync(folder, { recursive: true, force: true })
  }
}

/** From the start of the navigation until rows of the list are there to be seen, with nothing cached. */
async function first(browser, path, table) {
  const runs = []
  for (let at = 0; at < RUNS; at += 1) {
    const context = await signedIn(browser)
    const page = await context.newPage()
    const session = await context.newCDPSession(page)
    await session.send('Network.enable')
    await session.send('Network.setCacheDisabled', { cacheDisabled: true })
    const scripts = new Map()
    session.on('Network.responseReceived', ({ requestId, type, response }) => {
      if (type === 'Script' || /\.js(\?|$)/.test(response.url)) scripts.set(requestId, { url: response.url, encoding: response.headers['content-encoding'] ?? response.headers['Content-Encoding'] })
    })
    session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
      const one = scripts.get(requestId)
      if (one) one.bytes = encodedDataLength
    })
    await page.addInitScript((label) => {
      const look = () => {
        if (document.querySelector('h1') && document.querySelector(`[role=table][aria-label="${label}"] [data-index]`)) {
          // The frame after the one that has it has shown it.
          requestAnimationFrame(() => (window.measuredShown = performance.now()))
        } else requestAnimationFrame(look)
      }
      requestAnimationFrame(look)
    }, table)
    await page.goto(URL + path, { waitUntil: 'commit' })
    await page.waitForFunction(() => window.measuredShown !== undefined && performance.getEntriesByName('first-contentful-paint').length > 0, undefined, { timeout: 30_000 })
    const times = await page.evaluate(() => ({ shown: window.measuredShown, contentful: performance.getEntriesByName('first-contentful-paint')[0].startTime }))
    // What the list itself asks for afterwards belongs to the first view, too.
    await page.waitForLoadState('load')
    await pause(500)
    const list = [...scripts.values()].filter((one) => one.bytes !== undefined)
    let gzip = 0
    for (const one of list) gzip += one.encoding ? one.bytes : gzipSync(Buffer.from(await (await context.request.get(one.url)).body())).length
    runs.push({ ...times, files: list.length, encodings: [...new Set(list.map((one) => one.encoding ?? 'none'))].join(), bytes: gzip })
    await context.close()
  }
  const of = (key) => runs.map((run) => run[key])
  return {
    path, shown_ms: round(middle(of('shown'))), shown_worst_ms: round(Math.max(...of('shown'))), first_contentful_paint_ms: round(middle(of('contentful'))),
    script_files: middle(of('files')), script_bytes: Math.max(...of('bytes')), script_encoding: runs[0].encodings, runs: RUNS,
  }
}

const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => existsSync(path))
const browser = await chromium.launch({ ...(executablePath && { executablePath }), args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars'] })
try {
  const only = process.argv[2]
  const found = { browser: browser.version(), viewport: SIZE }
  const begin = async () => {
    // A list that has rows.
    const folder = `${ROOT}/${FLOW}`
    mkdirSync(`${folder}/inbox`, { recursive: true })
    writeFileSync(`${folder}/flow.yaml`, 'name: Measured page\nprocessors:\n  - { id: inbox, type: ingest, phase: 1, source: { type: file_drop, path: ./inbox, settle: 0s } }\n  - { id: shelf, type: collect, phase: 2, inputs: [inbox], collection: Measured page }\n')
    await cli('flows', 'enable', `${folder}/flow.yaml`)
    for (let at = 0; at < 100; at += 1) writeFileSync(`${folder}/inbox/first-${process.pid}-${at}.txt`, `first ${at}\n`)
    for (let at = 0; at < 200 && (await api('GET', `/datasets?flow=${FLOW}&limit=100`)).rows.length < 100; at += 1) await pause(100)
    return async () => {
      await api('DELETE', `/flows/${FLOW}?work=drain`)
      rmSync(folder, { recursive: true, force: true })
    }
  }
  if (only === undefined || only === 'first') {
    const end = await begin()
    await pause(1000)
    found.first_view = [await first(browser, '/flows', 'Flows'), await first(browser, '/datasets', 'Datasets')]
    say('first view')
    await end()
  }
  if (only === undefined || only === 'canvas') found.canvas = await canvas(browser)
  console.log(JSON.stringify(found, null, 2))
} finally {
  await browser.close()
}
