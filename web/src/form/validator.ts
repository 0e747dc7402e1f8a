// What RJSF asks of a validator, over @cfworker/json-schema, which needs no `eval` and so works under the page's policy.
import { Validator } from '@cfworker/json-schema'
import {
  createErrorHandler, toErrorSchema, unwrapErrorHandler, validationDataMerge,
  type CustomValidator, type ErrorTransformer, type RJSFSchema, type RJSFValidationError, type UiSchema, type ValidationData, type ValidatorType,
} from '@rjsf/utils'
import type { Schema } from './schema'

const compiled = new WeakMap<object, Validator>()

function validatorOf(schema: object): Validator {
  let found = compiled.get(schema)
  if (!found) {
    found = new Validator(schema as never, '2020-12', false)
    compiled.set(schema, found)
  }
  return found
}

/** `#/source/path` as RJSF names it: `.source.path`. */
const property = (pointer: string) =>
  pointer
    .replace(/^#\/?/, '')
    .split('/')
    .filter(Boolean)
    .map((part) => `.${decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~')}`)
    .join('')

/** Keywords that only say that something below is wrong, which says so itself. */
const ABOVE = new Set(['properties', 'items', 'additionalProperties', 'allOf', 'anyOf', 'oneOf', '$ref', 'if'])

export function errorsOf(schema: object, data: unknown): RJSFValidationError[] {
  const { errors } = validatorOf(schema).validate(withoutNothing(data))
  return errors
    .filter((error) => !ABOVE.has(error.keyword))
    .map((error) => {
      const missing = error.keyword === 'required' ? /"([^"]+)"/.exec(error.error)?.[1] : undefined
      const at = property(error.instanceLocation) + (missing === undefined ? '' : `.${missing}`)
      const message = words(error.keyword, error.error, at, schema as Schema)
      return { name: error.keyword, property: at, message, stack: `${at} ${message}`, schemaPath: error.keywordLocation }
    })
}

function words(keyword: string, said: string, at: string, schema: Schema): string {
  const node = at.split('.').filter(Boolean).reduce<Schema | undefined>((now, key) => now?.properties?.[key] ?? now?.items, schema)
  switch (keyword) {
    case 'required':
      return 'is needed'
    case 'type':
      return `must be ${node?.type === 'integer' ? 'a whole number' : node?.type === 'array' ? 'a list' : `a ${String(node?.type ?? 'value')}`}`
    case 'minimum':
      return `must be at least ${node?.minimum}`
    case 'maximum':
      return `must be at most ${node?.maximum}`
    case 'minLength':
      return 'must not be empty'
    case 'minItems':
      return `needs at least ${node?.minItems}`
    case 'pattern':
      return node?.['x-example'] === undefined ? 'does not have the right form' : `does not have the right form: ${String(node['x-example'])}`
    default:
      return said
  }
}

/** Fields that a form left `undefined` are not there. */
function withoutNothing(data: unknown): unknown {
  return data === undefined ? undefined : (JSON.parse(JSON.stringify(data)) as unknown)
}

export const validator: ValidatorType = {
  validateFormData(formData: unknown, schema: RJSFSchema, customValidate?: CustomValidator, transformErrors?: ErrorTransformer, uiSchema?: UiSchema): ValidationData<unknown> {
    let errors = errorsOf(schema, formData)
    if (transformErrors) errors = transformErrors(errors, uiSchema)
    const data = { errors, errorSchema: toErrorSchema(errors) }
    if (!customValidate) return data
    const handled = unwrapErrorHandler(customValidate(formData, createErrorHandler(formData), uiSchema))
    return validationDataMerge(data, handled)
  },
  isValid: (schema: RJSFSchema, formData: unknown) => validatorOf(schema).validate(withoutNothing(formData)).valid,
  rawValidation: <Result,>(schema: RJSFSchema, formData?: unknown) => ({ errors: errorsOf(schema, formData) as Result[] }),
}

export default validator
