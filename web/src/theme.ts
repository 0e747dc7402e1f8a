// The look: calm, dense, two fonts, light and dark as CSS variables. What single parts look like beyond this stands
// beside them.
import { createTheme } from '@mui/material/styles'
import type {} from '@mui/material/themeCssVarsAugmentation'

/** What phases, in turn, are told apart by. */
export interface Lane {
  main: string
  soft: string
}

declare module '@mui/material/styles' {
  interface Palette {
    canvas: { main: string; dots: string; lane: string; edge: string }
    lanes: [Lane, Lane, Lane, Lane]
    code: { keyword: string; string: string; number: string; comment: string; name: string; line: string }
  }
  interface PaletteOptions {
    canvas?: Palette['canvas']
    lanes?: Palette['lanes']
    code?: Palette['code']
  }
}

export const SANS = "'Inter', system-ui, -apple-system, 'Segoe UI', sans-serif"
export const MONO = "'JetBrains Mono', ui-monospace, 'SFMono-Regular', Menlo, Consolas, monospace"

export const theme = createTheme({
  cssVariables: { colorSchemeSelector: '[data-theme="%s"]', nativeColor: false },
  colorSchemes: {
    light: {
      palette: {
        primary: { main: '#1a5bbf', contrastText: '#ffffff' },
        success: { main: '#17713a' },
        warning: { main: '#8f5200' },
        error: { main: '#bf2b3a' },
        info: { main: '#1a5bbf' },
        background: { default: '#f3f5f8', paper: '#ffffff' },
        text: { primary: '#161c26', secondary: '#535e70', disabled: '#6b7686' },
        divider: '#dde2ea',
        canvas: { main: '#eef1f5', dots: '#d2d8e1', lane: '#f8f9fb', edge: '#67748a' },
        lanes: [
          { main: '#0f7d74', soft: '#dcefed' },
          { main: '#5147c9', soft: '#e7e5fa' },
          { main: '#96560b', soft: '#f5e9db' },
          { main: '#a3327a', soft: '#f8e3ef' },
        ],
        code: { keyword: '#4a3fc0', string: '#0b6e4f', number: '#96560b', comment: '#667085', name: '#1a5bbf', line: '#f2f6fc' },
      },
    },
    dark: {
      palette: {
        // `dark` is the shade of a button that is pointed at: lighter here, so that its dark words stay legible.
        primary: { main: '#82b1ff', dark: '#a3c5ff', contrastText: '#0b1220' },
        success: { main: '#5fd38d', dark: '#83dfa6', contrastText: '#0b1220' },
        warning: { main: '#e9ae5c', dark: '#f0c282', contrastText: '#0b1220' },
        error: { main: '#ff7d88', dark: '#ff9ba4', contrastText: '#0b1220' },
        info: { main: '#82b1ff', dark: '#a3c5ff', contrastText: '#0b1220' },
        background: { default: '#0d1117', paper: '#151b23' },
        text: { primary: '#e8edf4', secondary: '#9aa7b8', disabled: '#7e8b9d' },
        divider: '#2a323d',
        action: { selected: 'rgba(255, 255, 255, 0.09)' },
        canvas: { main: '#0b0f14', dots: '#232b36', lane: '#10161d', edge: '#8391a5' },
        lanes: [
          { main: '#4fc9bd', soft: '#153531' },
          { main: '#a79bff', soft: '#29264b' },
          { main: '#e7ab5b', soft: '#3b2d18' },
          { main: '#f08cc5', soft: '#431f36' },
        ],
        code: { keyword: '#a79bff', string: '#6ed7a3', number: '#e7ab5b', comment: '#8693a5', name: '#82b1ff', line: '#1a222d' },
      },
    },
  },
  shape: { borderRadius: 6 },
  spacing: 8,
  typography: {
    fontFamily: SANS,
    fontSize: 13,
    htmlFontSize: 16,
    h1: { fontSize: 18, fontWeight: 650, lineHeight: 1.3 },
    h2: { fontSize: 15, fontWeight: 650, lineHeight: 1.35 },
    h3: { fontSize: 13, fontWeight: 650, lineHeight: 1.4 },
    body1: { fontSize: 14, lineHeight: 1.5 },
    body2: { fontSize: 13, lineHeight: 1.5 },
    caption: { fontSize: 12, lineHeight: 1.4 },
    button: { textTransform: 'none', fontWeight: 600, fontSize: 13 },
  },
  components: {
    MuiCssBaseline: {
      styleOverrides: {
        html: { height: '100%' },
        body: { height: '100%', fontSize: 13, fontFeatureSettings: "'cv05', 'ss03'" },
        '#root': { height: '100%' },
        'code, pre, kbd, .mono.mono': { fontFamily: MONO, fontSize: '0.93em' },
        '.num': { fontVariantNumeric: 'tabular-nums' },
        '@media (prefers-reduced-motion: reduce)': {
          '*, *::before, *::after': {
            animationDuration: '0.01ms !important',
            animationIterationCount: '1 !important',
            // None at all: of the shortest one, inherited colours would come through the page by one level a frame.
            transitionDuration: '0s !important',
          },
        },
      },
    },
    MuiButton: { defaultProps: { disableElevation: true, size: 'small' }, styleOverrides: { root: { minHeight: 30 } } },
    MuiButtonBase: { defaultProps: { disableRipple: true }, styleOverrides: { root: { fontFamily: SANS } } },
    MuiIconButton: { defaultProps: { size: 'small' } },
    MuiTextField: { defaultProps: { size: 'small', fullWidth: true } },
    MuiFormControl: { defaultProps: { size: 'small' } },
    MuiSelect: { defaultProps: { size: 'small' } },
    MuiPaper: { defaultProps: { elevation: 0 }, styleOverrides: { root: { backgroundImage: 'none' } } },
    MuiTooltip: { defaultProps: { enterDelay: 400, arrow: true } },
    MuiTab: { styleOverrides: { root: { minHeight: 40, padding: '8px 14px' } } },
    MuiTabs: { styleOverrides: { root: { minHeight: 40 } } },
    MuiDialog: { styleOverrides: { paper: ({ theme }) => ({ border: `1px solid ${theme.vars.palette.divider}` }) } },
    MuiMenuItem: { styleOverrides: { root: { fontSize: 13, minHeight: 32 } } },
    MuiChip: { defaultProps: { size: 'small' } },
    MuiToggleButton: { styleOverrides: { root: ({ theme }) => ({ color: theme.vars.palette.text.secondary, textTransform: 'none' }) } },
    MuiLink: { defaultProps: { underline: 'hover' } },
    MuiOutlinedInput: { styleOverrides: { root: { fontSize: 13 } } },
    MuiInputLabel: { styleOverrides: { root: { fontSize: 13 } } },
  },
})
