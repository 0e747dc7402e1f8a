// The shell: pages, palette, keys, themes; and axe on each page in both themes.
import { check, isShown, type Journey, until } from './harness'

const PAGES = [['Runs', '/runs'], ['Collections', '/collections'], ['Datasets', '/datasets'], [/^Dead letters/, '/dead-letters'], ['Settings', '/settings'], ['Flows', '/flows']] as const

export const journeys: Journey[] = [
  {
    name: 'shell: pages by the rail, the keys and the palette',
    run: async ({ page, open }) => {
      await open('/')
      await page.waitForURL('**/flows')
      for (const [name, path] of PAGES) {
        await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name }).click()
        await page.waitForURL(`**${path}`)
        await isShown(page.getByRole('heading', { level: 1 }))
      }
      for (const [keys, path] of [['g d', '/datasets'], ['g x', '/dead-letters'], ['g f', '/flows']] as const) {
        for (const key of keys.split(' ')) await page.keyboard.press(key)
        await page.waitForURL(`**${path}`)
      }
      // In a field letters are letters.
      await open('/runs')
      await page.keyboard.press('Control+k')
      const palette = page.getByRole('combobox', { name: 'Search or run a command' })
      await palette.fill('collec')
      await page.keyboard.press('Enter')
      await page.waitForURL('**/collections')
    },
  },
  {
    name: 'shell: keys without Ctrl never act in a field, and can be switched off',
    run: async ({ page, open }) => {
      await open('/datasets')
      await page.keyboard.press('/')
      await page.keyboard.type('gf?')
      check(new URL(page.url()).pathname === '/datasets', 'letters in a field go nowhere')
      await open('/flows')
      await page.keyboard.press('?')
      const help = page.getByRole('dialog', { name: 'Keys' })
      await isShown(help.getByText('Dead letters'))
      await help.getByRole('switch').uncheck()
      await page.keyboard.press('Escape')
      await help.waitFor({ state: 'detached' })
      await page.keyboard.press('g')
      await page.keyboard.press('d')
      await page.keyboard.press('?')
      await page.keyboard.press('Control+k')
      await isShown(page.getByRole('dialog', { name: 'Search or run a command' }))
      check(new URL(page.url()).pathname === '/flows', 'switched off, they go nowhere')
      check((await help.count()) === 0, 'nor does `?` show the keys')
    },
  },
  {
    name: 'shell: the theme is chosen and kept',
    run: async ({ page, open }) => {
      await open('/flows')
      const theme = () => page.evaluate(() => document.documentElement.dataset.theme)
      const button = page.getByRole('button', { name: /^Theme:/ })
      check((await theme()) === 'light', 'at first as the system has it')
      await button.click()
      await button.click()
      check((await theme()) === 'dark', 'then as it was chosen')
      await open('/flows')
      check((await theme()) === 'dark', 'and so it stays')
    },
  },
  {
    name: 'shell: the stream says when it is broken, and comes back',
    run: async ({ page, context, open }) => {
      const events = '**/api/v1/events'
      await context.route(events, (route) => route.abort())
      await open('/flows')
      await isShown(page.getByText('Reconnecting', { exact: true }))
      await context.unroute(events)
      await isShown(page.getByText('Live', { exact: true }))
    },
  },
  {
    name: 'shell: axe finds nothing on any page',
    run: async ({ page, open, accessible, shot }) => {
      for (const [, path] of PAGES) {
        await open(path)
        await until('nothing is being fetched', async () => (await page.getByRole('status', { name: 'Loading' }).count()) === 0)
        await accessible()
        await shot(path.slice(1))
      }
    },
  },
]
