// How the page is built and served while it is worked on. What the binary serves is `dist`.
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import react from '@vitejs/plugin-react'
import { defineConfig, type Plugin, type ProxyOptions, type Rollup } from 'vite'

// Where the server is: a URL with its token, or the socket in its data directory.
const url = process.env.OPENDMP_URL
const token = process.env.OPENDMP_TOKEN
const socket = process.env.OPENDMP_SOCKET

function upstream(): ProxyOptions {
  const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {}
  if (url) return { target: url, changeOrigin: true, headers: { ...headers, origin: url } }
  // http-proxy takes a socket path for a target, though its types do not say so.
  const target = { socketPath: socket ?? '/tmp/w1/data/opendmp.sock', protocol: 'http:', host: 'localhost', port: 80 }
  return { target: target as unknown as string, headers }
}

const proxy = { '/api': upstream(), '/healthz': upstream(), '/dl': upstream() }

/** `vite preview` with the nonce and the policy of the binary, so that a style or script that it refuses shows. */
function strict(): Plugin {
  return {
    name: 'strict-csp-preview',
    configurePreviewServer(server) {
      server.middlewares.use((request, response, next) => {
        const path = (request.url ?? '/').split('?')[0] ?? '/'
        if (path !== '/' && (path.includes('.') || /^\/(api|healthz|dl)(\/|$)/.test(path))) return next()
        const nonce = randomBytes(16).toString('base64')
        const html = readFileSync(resolve('dist/index.html'), 'utf8').replaceAll('__CSP_NONCE__', nonce)
        response.setHeader('content-type', 'text/html; charset=utf-8')
        response.setHeader('cache-control', 'no-store')
        response.setHeader(
          'content-security-policy',
          `default-src 'none'; script-src 'self'; style-src 'self' 'nonce-${nonce}'; img-src 'self' data: blob:; ` +
            `font-src 'self'; connect-src 'self'; frame-src 'self' blob:; worker-src 'self'`,
        )
        response.end(html)
      })
    },
  }
}

/** Which address shows which page, as `src/router.tsx` has it. */
const PAGES: [path: RegExp, module: string][] = [
  [/^\/(flows\/?)?$/, 'flows/FlowsPage'], [/^\/flows\/./, 'flows/FlowPage'], [/^\/datasets\/?$/, 'datasets/DatasetsPage'], [/^\/datasets\/./, 'datasets/DatasetPage'],
  [/^\/runs\/?$/, 'runs/RunsPage'], [/^\/runs\/./, 'runs/RunPage'], [/^\/collections/, 'collections/CollectionsPage'], [/^\/dead-letters/, 'deadletters/DeadLettersPage'],
]

/** The page that is asked for is fetched with the document, and not only when what draws it has been read. */
function firstPage(): Plugin {
  return {
    name: 'first-page',
    transformIndexHtml: {
      order: 'post',
      handler(html, { bundle }) {
        if (!bundle) return undefined
        const chunks = Object.values(bundle).filter((one) => one.type === 'chunk')
        const needed = (module: string): string[] => {
          const page = chunks.find((chunk) => chunk.facadeModuleId?.endsWith(`/pages/${module}.tsx`))
          if (!page) throw new Error(`there is no page ${module}`)
          const wanted = new Set<string>()
          const add = (name: string) => {
            if (wanted.has(name) || html.includes(`/${name}"`)) return
            wanted.add(name)
            for (const one of chunks.find((chunk) => chunk.fileName === name)?.imports ?? []) add(one)
          }
          add(page.fileName)
          return [...wanted].map((name) => `/${name}`)
        }
        const pages = PAGES.map(([path, module]) => `[${path},${JSON.stringify(needed(module))}]`).join()
        const source = `for(const[p,l]of[${pages}])if(p.test(location.pathname))for(const h of l)document.head.append(Object.assign(document.createElement('link'),{rel:'modulepreload',href:h}));`
        const fileName = `assets/first-${createHash('sha256').update(source).digest('hex').slice(0, 8)}.js`
        // Vite's own types leave this out.
        const { emitFile } = this as unknown as Pick<Rollup.PluginContext, 'emitFile'>
        emitFile({ type: 'asset', fileName, source })
        // Before the styles, for which scripts wait.
        const theme = '<script src="/theme.js"></script>'
        if (!html.includes(theme)) throw new Error('index.html has changed')
        return html.replace(theme, `${theme}\n    <script src="/${fileName}"></script>`)
      },
    },
  }
}

/** Scripts and styles are there packed, too, for the server to send them so. */
function packed(): Plugin {
  return {
    name: 'packed',
    apply: 'build',
    generateBundle: {
      order: 'post',
      handler(_, bundle) {
        for (const one of Object.values(bundle)) {
          if (!/^assets\/.*\.(js|css)$/.test(one.fileName)) continue
          const source = gzipSync(one.type === 'chunk' ? one.code : one.source, { level: 9 })
          this.emitFile({ type: 'asset', fileName: `${one.fileName}.gz`, source })
        }
      },
    },
  }
}

/** What an earlier build left goes when the new one is there: a debug server that reads `dist` never finds it empty. */
function tidy(): Plugin {
  return {
    name: 'tidy',
    apply: 'build',
    writeBundle(options, bundle) {
      const folder = options.dir ?? 'dist'
      const kept = new Set([...Object.keys(bundle), 'index.html', ...readdirSync('public', { recursive: true }).map(String)])
      for (const name of readdirSync(folder, { recursive: true }).map(String)) {
        if (!kept.has(name) && statSync(resolve(folder, name)).isFile()) rmSync(resolve(folder, name))
      }
    },
  }
}

export default defineConfig({
  plugins: [react(), strict(), firstPage(), packed(), tidy()],
  // What RJSF tests itself with names a validator that needs `eval`; ours stands for it, and neither is built in.
  resolve: { alias: { '@rjsf/validator-ajv8': resolve('src/form/validator.ts') } },
  server: { proxy, port: 5173, host: '127.0.0.1' },
  preview: { proxy, port: 4173, host: '127.0.0.1' },
  build: {
    target: 'es2022',
    // Nothing inlined as data: the policy has no `data:` for fonts and scripts.
    assetsInlineLimit: 0,
    emptyOutDir: false,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [
            { name: 'react', test: /node_modules\/(react|react-dom|scheduler|@emotion|stylis)\// },
            { name: 'tanstack', test: /node_modules\/@tanstack\// },
            { name: 'xyflow', test: /node_modules\/(@xyflow|d3-[a-z]+)\// },
            // What many pages take of MUI, in one file rather than in thirty.
            { name: 'mui', test: /node_modules\/(@mui|react-transition-group|@popperjs)\//, minShareCount: 8 },
            { name: 'codemirror', test: /node_modules\/@codemirror\/(state|view|language|commands|autocomplete|lint|search)\// },
          ],
        },
      },
    },
  },
  // Inlined, so that the alias holds for it, too.
  test: { environment: 'node', server: { deps: { inline: [/@rjsf/] } }, include: ['src/**/*.test.{ts,tsx}'] },
} as Parameters<typeof defineConfig>[0])
