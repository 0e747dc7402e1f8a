// How the page is built and served while it is worked on. What the binary serves is `dist`.
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import react from '@vitejs/plugin-react'
import { defineConfig, type Plugin, type ProxyOptions } from 'vite'

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

export default defineConfig({
  plugins: [react(), strict()],
  // What RJSF tests itself with names a validator that needs `eval`; ours stands for it, and neither is built in.
  resolve: { alias: { '@rjsf/validator-ajv8': resolve('src/form/validator.ts') } },
  server: { proxy, port: 5173, host: '127.0.0.1' },
  preview: { proxy, port: 4173, host: '127.0.0.1' },
  build: {
    target: 'es2022',
    // Nothing inlined as data: the policy has no `data:` for fonts and scripts.
    assetsInlineLimit: 0,
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
