// What stands around every page: the rail, the head with palette, stream and theme, and what listens to keys.
import AccountTree from '@mui/icons-material/AccountTreeOutlined'
import Collections from '@mui/icons-material/Inventory2Outlined'
import Dark from '@mui/icons-material/DarkModeOutlined'
import Datasets from '@mui/icons-material/TableChartOutlined'
import Dead from '@mui/icons-material/ReportGmailerrorredOutlined'
import Light from '@mui/icons-material/LightModeOutlined'
import Runs from '@mui/icons-material/ChecklistOutlined'
import Search from '@mui/icons-material/Search'
import Settings from '@mui/icons-material/SettingsOutlined'
import System from '@mui/icons-material/SettingsBrightnessOutlined'
import { Badge, Box, Button, ButtonBase, IconButton, Link as MuiLink, Stack, Tooltip } from '@mui/material'
import { useColorScheme } from '@mui/material/styles'
import { Link, Outlet, useNavigate, useRouterState } from '@tanstack/react-router'
import { lazy, Suspense, useEffect, useMemo, useState } from 'react'
import { signedOut } from '../api/client'
import { Keys } from '../components/bits'
import { Toasts } from '../components/toast'
import { useDeadLetters, useStream, useTroubles } from '../events/store'
import { clock, brief } from '../lib/format'
import { handleKey, keyNames, useCommands, type Command } from './commands'
import { HeadContext } from './head'
import { Palette } from './Palette'

const Help = lazy(() => import('./Help').then((module) => ({ default: module.Help })))

const PAGES = [
  { to: '/flows', label: 'Flows', icon: AccountTree, keys: 'g f' },
  { to: '/runs', label: 'Runs', icon: Runs, keys: 'g r' },
  { to: '/collections', label: 'Collections', icon: Collections, keys: 'g c' },
  { to: '/datasets', label: 'Datasets', icon: Datasets, keys: 'g d' },
  { to: '/dead-letters', label: 'Dead letters', icon: Dead, keys: 'g x' },
  { to: '/settings', label: 'Settings', icon: Settings, keys: 'g s' },
] as const

export const RAIL = 76

export function Shell() {
  const navigate = useNavigate()
  const [palette, setPalette] = useState(false)
  const [help, setHelp] = useState(false)
  const [title, setTitle] = useState<HTMLElement | null>(null)
  const [actions, setActions] = useState<HTMLElement | null>(null)
  const places = useMemo(() => ({ title, actions }), [title, actions])
  const { mode, setMode } = useColorScheme()
  useEffect(() => {
    const listen = (event: KeyboardEvent) => void handleKey(event)
    window.addEventListener('keydown', listen)
    return () => window.removeEventListener('keydown', listen)
  }, [])
  useCommands([
    ...PAGES.map((page): Command => ({
      id: `go${page.to}`,
      label: page.label,
      group: 'Go to',
      keys: page.keys,
      run: () => void navigate({ to: page.to }),
    })),
    { id: 'palette', label: 'Search or run a command', group: 'Everywhere', keys: 'Mod+K', inFields: true, hidden: true, run: () => setPalette(true) },
    { id: 'help', label: 'Keys', group: 'Everywhere', keys: '?', words: 'shortcuts help', run: () => setHelp(true) },
    { id: 'light', label: 'Light theme', group: 'Look', words: 'colour', run: () => setMode('light') },
    { id: 'dark', label: 'Dark theme', group: 'Look', words: 'colour night', run: () => setMode('dark') },
    { id: 'system', label: 'Theme of the system', group: 'Look', words: 'colour', run: () => setMode('system') },
  ])
  return (
    <Box sx={{ display: 'grid', gridTemplateRows: '52px minmax(0, 1fr)', gridTemplateColumns: `${RAIL}px minmax(0, 1fr)`, height: '100%' }}>
      <MuiLink href="#content" sx={{ position: 'absolute', left: 8, top: -60, zIndex: 1500, bgcolor: 'background.paper', p: 1, '&:focus': { top: 8 } }}>
        Skip to the content
      </MuiLink>
      <Stack component="header" direction="row" spacing={1} sx={{ gridColumn: '1 / -1', alignItems: 'center', borderBottom: 1, borderColor: 'divider', bgcolor: 'background.paper', pr: 1.5 }}>
        <Box component={Link} to="/flows" aria-label="OpenDMP, to the flows" sx={{ width: RAIL, display: 'grid', placeItems: 'center', height: '100%' }}>
          <img src="/icon.svg" alt="" width="26" height="26" />
        </Box>
        <Box ref={setTitle} sx={{ flex: '1 1 auto', minWidth: 80, overflow: 'hidden' }} />
        <Troubles />
        <StreamState />
        <Button
          variant="outlined"
          color="inherit"
          onClick={() => setPalette(true)}
          startIcon={<Search fontSize="small" />}
          aria-label="Search or run a command"
          sx={{ width: 236, flexShrink: 0, justifyContent: 'flex-start', color: 'text.secondary', borderColor: 'divider', fontWeight: 400, '& .keys': { ml: 'auto' }, '@media (max-width: 1360px)': { width: 'auto', minWidth: 0, px: 1, '& .words, & .keys': { display: 'none' }, '& .MuiButton-startIcon': { m: 0 } } }}
        >
          <span className="words">Search or run</span>
          <span className="keys"><Keys names={keyNames('Mod+K')} /></span>
        </Button>
        <Box ref={setActions} sx={{ display: 'flex', alignItems: 'center', flexShrink: 0, '&:empty': { display: 'none' } }} />
        <ThemeButton mode={mode ?? 'system'} onMode={setMode} />
      </Stack>
      <Rail />
      <Box component="main" id="content" tabIndex={-1} sx={{ minWidth: 0, minHeight: 0, overflow: 'hidden', outline: 'none' }}>
        <SignedOut />
        <HeadContext value={places}>
          <Outlet />
        </HeadContext>
      </Box>
      <Palette open={palette} onClose={() => setPalette(false)} />
      <Suspense>{help && <Help open onClose={() => setHelp(false)} />}</Suspense>
      <Toasts />
    </Box>
  )
}

function Rail() {
  const path = useRouterState({ select: (state) => state.location.pathname })
  const letters = useDeadLetters()
  return (
    <Stack component="nav" aria-label="Pages" sx={{ borderRight: 1, borderColor: 'divider', bgcolor: 'background.paper', p: 0.5, gap: 0.25, overflowY: 'auto' }}>
      {PAGES.map(({ to, label, icon: Icon }) => {
        const here = path === to || path.startsWith(`${to}/`)
        const badge = to === '/dead-letters' ? letters : 0
        return (
          <ButtonBase
            key={to}
            component={Link}
            to={to}
            aria-current={here ? 'page' : undefined}
            aria-label={badge > 0 ? `${label}, ${badge} open` : label}
            sx={{
              flexDirection: 'column', gap: 0.5, py: 1, borderRadius: 1, fontSize: 11, lineHeight: 1.2, textAlign: 'center',
              color: here ? 'primary.main' : 'text.secondary', fontWeight: here ? 650 : 500, bgcolor: here ? 'action.selected' : undefined,
              mt: to === '/settings' ? 'auto' : 0, '&:hover': { bgcolor: 'action.hover' }, '&:focus-visible': { outline: 2, outlineColor: 'primary.main' },
            }}
          >
            <Badge badgeContent={badge > 0 ? brief(badge) : 0} color="error" max={1e9}>
              <Icon sx={{ fontSize: 21 }} />
            </Badge>
            {label}
          </ButtonBase>
        )
      })}
    </Stack>
  )
}

function StreamState() {
  const stream = useStream()
  const [dot, text] =
    stream.state === 'live'
      ? ['success.main', 'Live']
      : stream.state === 'connecting'
        ? ['text.disabled', 'Connecting']
        : ['warning.main', stream.since ? `Reconnecting, data from ${clock(stream.since)}` : 'Reconnecting']
  return (
    <Stack role="status" direction="row" spacing={0.75} sx={{ alignItems: 'center', fontSize: 12, color: 'text.secondary', px: 1, flexShrink: 0, whiteSpace: 'nowrap' }}>
      <Box sx={{ width: 8, height: 8, borderRadius: '50%', bgcolor: dot }} />
      <span>{text}</span>
    </Stack>
  )
}

function Troubles() {
  const troubles = useTroubles()
  if (troubles.length === 0) return null
  return (
    <Tooltip
      title={troubles.map((one, at) => (
        <Box key={at} sx={{ mb: 0.5 }}>{one.about}: {one.message}{one.hint && `. ${one.hint}`}</Box>
      ))}
    >
      <Button component={Link} to="/settings" color="warning" sx={{ fontSize: 12 }}>
        {troubles.length === 1 ? '1 trouble' : `${troubles.length} troubles`}
      </Button>
    </Tooltip>
  )
}

function ThemeButton({ mode, onMode }: { mode: 'light' | 'dark' | 'system'; onMode: (mode: 'light' | 'dark' | 'system') => void }) {
  const next = { light: 'dark', dark: 'system', system: 'light' } as const
  const Icon = { light: Light, dark: Dark, system: System }[mode]
  return (
    <Tooltip title={`Theme: ${mode}`}>
      <IconButton onClick={() => onMode(next[mode])} aria-label={`Theme: ${mode}; change to ${next[mode]}`}>
        <Icon fontSize="small" />
      </IconButton>
    </Tooltip>
  )
}

/** Nothing is lost when the session ends: drafts stay in this browser, and the page stays where it is. */
function SignedOut() {
  const [out, setOut] = useState(false)
  useEffect(() => signedOut.hear(() => setOut(true)), [])
  if (!out) return null
  return (
    <Box role="alert" sx={{ px: 2, py: 1, bgcolor: 'warning.main', color: 'warning.contrastText', fontSize: 13 }}>
      You are not signed in, or not any more. Open the link that `opendmp token --link` prints; what you have typed here stays. <Button color="inherit" variant="outlined" onClick={() => location.reload()}>Reload</Button>
    </Box>
  )
}
