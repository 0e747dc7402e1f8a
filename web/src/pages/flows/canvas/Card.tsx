// One processor on the canvas: what it is, and how it goes, live. What it looks like stands in `styles.ts`.
import ErrorIcon from '@mui/icons-material/ErrorOutlined'
import { Handle, Position, type Node, type NodeProps } from '@xyflow/react'
import { memo } from 'react'
import { useProcessorNumbers, useRate } from '../../../events/store'
import { cardHeight, dots, showsPorts } from '../../../flow/layout'
import { KindIcon, subtitle } from '../../../flow/kinds'
import type { Step } from '../../../flow/model'
import { brief, count, duration, many } from '../../../lib/format'
import { useFar } from './far'
import { Spark } from './Spark'

export type CardNode = Node<{ slug: string; step: Step; lane: number; errors: number; live: boolean; focusable: boolean; dimmed: boolean }, 'card'>

/** Letters of a name that have room in a card from far away. */
const MOST_FAR = 36

export const Card = memo(function Card({ data, selected, isConnectable }: NodeProps<CardNode>) {
  const { step, lane } = data
  const far = useFar()
  const ports = showsPorts(step)
  const classes = ['card', `lane-${lane % 4}`, selected && 'selected', data.errors > 0 && 'wrong', data.dimmed && 'dimmed', far && 'far']
  return (
    <div
      data-card={step.id}
      role="button"
      aria-label={`${step.id}, ${subtitle(step)}${data.errors > 0 ? `, ${many(data.errors, 'error')}` : ''}`}
      aria-pressed={selected}
      tabIndex={data.focusable ? 0 : -1}
      className={classes.filter(Boolean).join(' ')}
      style={{ height: cardHeight(step) }}
    >
      {far ? (
        // Too small to be drawn at; React Flow looks in a card that comes into sight for where connections end.
        <>
          {dots(step).map(({ type, id, x, y }) => <i key={type + id} className={`card-dot ${type}`} data-handleid={id} data-handlepos={type === 'source' ? 'right' : 'left'} style={{ left: x - 6, top: y - 6 }} />)}
          {step.id.length > MOST_FAR ? `${step.id.slice(0, MOST_FAR - 1)}…` : step.id}
        </>
      ) : (
        <>
          {step.type !== 'ingest' && <Handle type="target" position={Position.Left} id="in" isConnectable={isConnectable} aria-label={`Input of ${step.id}`} />}
          {!ports && step.outputs.map((port) => <Handle key={port} type="source" position={Position.Right} id={port} isConnectable={isConnectable} aria-label={`Output of ${step.id}`} />)}
          <div className="card-head">
            <div className="card-kind"><KindIcon type={step.type} fontSize="inherit" /></div>
            <div className="card-names">
              <div className="card-name" title={step.description ?? step.id}>{step.id}</div>
              <div className="card-about mono">{subtitle(step)}</div>
            </div>
            {data.errors > 0 && <ErrorIcon className="card-wrong" fontSize="inherit" titleAccess={many(data.errors, 'error')} />}
          </div>
          {ports && (
            <div className="card-ports">
              {step.outputs.map((port) => (
                <div key={port} className="card-port mono">
                  {port}
                  <Handle type="source" position={Position.Right} id={port} isConnectable={isConnectable} aria-label={`Output ${port} of ${step.id}`} />
                </div>
              ))}
            </div>
          )}
          <Numbers slug={data.slug} step={step} live={data.live} />
        </>
      )}
    </div>
  )
})

/** What the server counted since it started. Each card hears only of its own. */
function Numbers({ slug, step, live }: { slug: string; step: Step; live: boolean }) {
  const numbers = useProcessorNumbers(slug, step.id)
  const main = step.type === 'ingest' ? numbers?.out : numbers?.in
  return (
    <>
      {numbers && numbers.failed > 0 && (
        // For the pointer; by keyboard the panel leads there. A button within the card's would be out of reach.
        <div className="card-failed nodrag" data-failed={step.id}>
          <ErrorIcon fontSize="inherit" />
          {brief(numbers.failed)} failed
        </div>
      )}
      <div className={numbers ? 'card-count' : 'card-count none'}>
        <b className="num">{numbers ? count(main ?? 0) : '–'}</b>
        <span>{numbers ? (step.type === 'ingest' ? 'taken in' : step.type === 'collect' ? 'collected' : 'items') : live ? 'nothing yet' : 'not enabled'}</span>
        {numbers && <Spark slug={slug} id={step.id} />}
      </div>
      <div className="card-foot num">
        <Rate slug={slug} id={step.id} />
        <span>{numbers && numbers.took_us > 0 ? duration(numbers.took_us) : ''}</span>
        <span className={numbers && numbers.waiting > 0 ? 'waits' : ''}>{numbers ? `${brief(numbers.waiting)} waiting` : ''}</span>
      </div>
      {numbers && numbers.waiting > 0 && (
        // Logarithmic: ten is a third, a thousand all of it.
        <div className="card-queue" style={{ width: `${Math.min(100, (Math.log10(numbers.waiting + 1) / 3) * 100)}%` }} aria-hidden />
      )}
    </>
  )
}

function Rate({ slug, id }: { slug: string; id: string }) {
  const rate = useRate(slug, [id])
  return <span>{rate > 0 ? `${rate >= 10 ? Math.round(rate) : rate.toFixed(1)}/s` : ''}</span>
}
