// What cards, lanes and connections look like: rules of the canvas with plain class names, because hundreds of cards come
// into sight and count at once, and a style that is computed for each would cost more than the cards.
import type { Theme } from '@mui/material/styles'
import { canvasFrame } from '../../../components/reactFlow'
import { CARD_WIDTH, HEAD_HEIGHT, PORT_HEIGHT } from '../../../flow/layout'

const cut = { overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' } as const

export function canvasStyles(theme: Theme) {
  const { palette } = theme.vars
  return {
    ...canvasFrame(theme),
    position: 'absolute', inset: 0,
    '& .react-flow__node-lane': { cursor: 'default' },
    '& .react-flow__connection-path': { stroke: palette.primary.main, strokeWidth: 2 },
    // While it moves it is drawn once and shifted; at rest it is drawn as sharp as it can be.
    '&[data-moving] .react-flow__viewport': { willChange: 'transform' },

    '& .canvas-dots': { position: 'absolute', zIndex: -2, pointerEvents: 'none', backgroundColor: palette.canvas.main, backgroundSize: '20px 20px', backgroundImage: `radial-gradient(circle at center, ${palette.canvas.dots} 0.8px, transparent 1.3px)` },

    ...Object.fromEntries(palette.lanes.map((lane, at) => [`& .lane-${at}`, { '--lane': lane.main, '--lane-soft': lane.soft }])),
    '& .card': {
      width: CARD_WIDTH, position: 'relative', borderRadius: '7.5px', backgroundColor: palette.background.paper, border: `1px solid ${palette.divider}`, fontSize: 12,
      boxShadow: '0 1px 2px rgb(16 24 40 / 0.07)', cursor: 'pointer', outline: 'none', contain: 'layout style',
    },
    '& .card.selected': { borderColor: palette.primary.main, boxShadow: `0 0 0 3px color-mix(in srgb, ${palette.primary.main} 22%, transparent)` },
    '& .card.wrong': { borderColor: palette.error.main },
    '& .card.dimmed': { opacity: 0.45 },
    '& .card:focus-visible': { boxShadow: `0 0 0 2px ${palette.primary.main}` },
    '& .card .react-flow__handle': { width: 10, height: 10, border: `1.5px solid ${palette.canvas.edge}`, background: palette.background.paper },
    '& .card .react-flow__handle:hover, & .card .react-flow__handle.connectingto': { borderColor: palette.primary.main, background: palette.primary.main },
    // A larger place to grab than to see.
    '& .card .react-flow__handle::after': { content: '""', position: 'absolute', inset: -8 },

    // Far away: a name. Nothing is clipped: a clip for each of hundreds of cards is looked at in each step of a drag.
    '& .card.far': { boxShadow: 'none', display: 'grid', placeItems: 'center', fontSize: 26, fontWeight: 650, backgroundColor: 'var(--lane-soft)', padding: '0 8px', textAlign: 'center', lineHeight: 1.05, overflowWrap: 'anywhere' },

    '& .card-dot': { position: 'absolute', width: 10, height: 10, visibility: 'hidden' },

    '& .card-head': { height: HEAD_HEIGHT, padding: '8px 8px 0', display: 'flex', gap: '8px', alignItems: 'center' },
    '& .card-kind': { width: 26, height: 26, borderRadius: '4.5px', backgroundColor: 'var(--lane-soft)', color: 'var(--lane)', display: 'grid', placeItems: 'center', flexShrink: 0 },
    '& .card-kind svg': { fontSize: 16 },
    '& .card-names': { minWidth: 0, flex: 1 },
    '& .card-name': { fontWeight: 650, fontSize: 13, lineHeight: 1.25, ...cut },
    '& .card-about.mono': { fontSize: 11, lineHeight: 1.4, color: palette.text.secondary, ...cut },
    '& .card-wrong': { fontSize: 16, color: palette.error.main },
    '& .card-ports': { marginTop: '4px' },
    '& .card-port.mono': { position: 'relative', height: PORT_HEIGHT, display: 'flex', alignItems: 'center', justifyContent: 'flex-end', paddingRight: '10px', color: palette.text.secondary, fontSize: 11 },
    '& .card-failed': {
      display: 'inline-flex', alignItems: 'center', position: 'absolute', top: -10, right: 10, height: 20, padding: '0 7px', gap: '3px', borderRadius: '30px',
      backgroundColor: palette.error.main, color: palette.error.contrastText, fontSize: 11, fontWeight: 650,
    },
    '& .card-failed svg': { fontSize: 13 },
    '& .card-count': { position: 'absolute', left: 0, right: 0, bottom: 26, padding: '0 8px', display: 'flex', alignItems: 'baseline', gap: '6px', fontSize: 11, color: palette.text.secondary },
    '& .card-count b': { fontSize: 15, fontWeight: 650, color: palette.text.primary },
    '& .card-count.none b': { color: palette.text.disabled },
    '& .card-count svg': { marginLeft: 'auto' },
    '& .card-foot': { position: 'absolute', left: 0, right: 0, bottom: 0, height: 23, padding: '0 8px', display: 'flex', justifyContent: 'space-between', alignItems: 'center', borderTop: `1px solid ${palette.divider}`, fontSize: 11, color: palette.text.secondary },
    '& .card-foot .waits': { color: palette.warning.main, fontWeight: 650 },
    '& .card-queue': { position: 'absolute', left: 0, bottom: 0, height: 3, borderRadius: '0 2px 0 6px', backgroundColor: palette.warning.main },

    '& .far-edges': { position: 'absolute', left: 0, top: 0, width: 1, height: 1, overflow: 'visible', pointerEvents: 'none', zIndex: -1, fill: 'none', stroke: palette.canvas.edge, strokeWidth: 3 },
    '& .edge-count': {
      position: 'absolute', padding: '0 7px', height: 19, lineHeight: '18px', borderRadius: '30px', border: `1px solid ${palette.divider}`, backgroundColor: palette.background.paper,
      fontSize: 11, fontWeight: 600, pointerEvents: 'none',
    },
  } as const
}
