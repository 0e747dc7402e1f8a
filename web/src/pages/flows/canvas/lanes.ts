// What lanes are called: as the flow says, or by what stands in them.
import type { FlowModel } from '../../../flow/model'

export function laneNames(model: FlowModel, count: number): { name: string; about: string }[] {
  return Array.from({ length: count }, (_, lane) => {
    const types = new Set(model.steps.filter((step) => step.lane === lane).map((step) => step.type))
    const given = model.phases[lane]
    const only = (type: string) => types.size === 1 && types.has(type)
    const [name, about] =
      types.size === 0
        ? [['Ingest', 'Process', 'Collect'][model.steps.length === 0 ? lane : -1] ?? `Phase ${lane + 1}`, ['bring items in', 'compute and check', 'keep and hand on'][model.steps.length === 0 ? lane : -1] ?? '']
        : only('ingest')
          ? ['Ingest', 'bring items in']
          : only('collect')
            ? ['Collect', 'keep and hand on']
            : only('route')
              ? ['Route', 'choose the way']
              : ['Process', 'compute and check']
    return given === undefined ? { name, about } : { name: given, about: '' }
  })
}
