// Runs the journeys of `*.journeys.ts` one after the other, or those whose name has the first argument, against the server
// that the environment names: OPENDMP_URL, OPENDMP_TOKEN, OPENDMP_ROOT, OPENDMP_BINARY; SCREENSHOTS is a folder for pictures.
// Its last line is `N passed, M failed`; it fails where one did, or none was there.
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { chromium } from 'playwright-core'
import { createServer } from 'vite'

const LONGEST_MS = 180_000

const only = process.argv[2]?.toLowerCase()
const shots = process.env.SCREENSHOTS ?? ''
if (shots) mkdirSync(shots, { recursive: true })
// Node 20 reads no TypeScript; Vite, which builds the page, does.
const vite = await createServer({ configFile: false, root: resolve(import.meta.dirname), server: { middlewareMode: true, watch: null, ws: false, hmr: false }, appType: 'custom', optimizeDeps: { noDiscovery: true }, logLevel: 'error' })
const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => existsSync(path))
const browser = await chromium.launch({
  ...(executablePath && { executablePath }),
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars'],
})
let passed = 0
let failed = 0
try {
  const { worldOf } = await vite.ssrLoadModule('/harness.ts')
  for (const file of readdirSync(import.meta.dirname).filter((name) => name.endsWith('.journeys.ts')).toSorted()) {
    const { journeys } = await vite.ssrLoadModule(`/${file}`)
    for (const { name, run } of journeys) {
      if (only && !name.toLowerCase().includes(only)) continue
      const start = performance.now()
      let world
      let timer
      const words = []
      const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`took longer than ${LONGEST_MS / 1000} s`)), LONGEST_MS)
      })
      try {
        world = await worldOf(browser, shots, name, (one) => words.push(one))
        await Promise.race([run(world), late])
        world.settle()
        passed += 1
        console.log([`ok    ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`, ...words].join('\n      '))
      } catch (error) {
        failed += 1
        await world?.shot('failed').catch(() => {})
        const lines = String(error?.stack ?? error).split('\n')
        console.log([`FAIL  ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)`, ...lines.slice(0, 16), ...words].join('\n      '))
        if (world) console.log(`      on ${world.page.url()}`)
      } finally {
        clearTimeout(timer)
        for (const context of browser.contexts()) await context.close().catch(() => {})
      }
    }
  }
} finally {
  await browser.close()
  await vite.close()
}
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed > 0 || passed === 0 ? 1 : 0)
