// What every editor has: keys, marks, colours from the theme's variables, and the nonce that lets its styles in.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap } from '@codemirror/autocomplete'
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands'
import { bracketMatching, defaultHighlightStyle, foldGutter, foldKeymap, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from '@codemirror/language'
import { lintGutter, lintKeymap } from '@codemirror/lint'
import { highlightSelectionMatches, searchKeymap } from '@codemirror/search'
import { EditorState, type Extension } from '@codemirror/state'
import { drawSelection, EditorView, highlightActiveLine, highlightActiveLineGutter, highlightSpecialChars, keymap, lineNumbers } from '@codemirror/view'
import { tags } from '@lezer/highlight'
import { nonce } from '../../lib/nonce'
import { MONO } from '../../theme'

const v = (name: string) => `var(--mui-palette-${name})`

const look = EditorView.theme({
  '&': { height: '100%', fontSize: '12.5px', backgroundColor: v('background-paper'), color: v('text-primary') },
  '&.cm-focused': { outline: 'none' },
  '.cm-scroller': { fontFamily: MONO, lineHeight: '1.55', fontVariantLigatures: 'none' },
  '.cm-gutters': { backgroundColor: v('background-paper'), color: v('text-secondary'), border: 'none' },
  '.cm-activeLine': { backgroundColor: `color-mix(in srgb, ${v('primary-main')} 7%, transparent)` },
  '.cm-activeLineGutter': { backgroundColor: `color-mix(in srgb, ${v('primary-main')} 7%, transparent)` },
  '.cm-cursor': { borderLeftColor: v('text-primary') },
  '&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground, ::selection': {
    backgroundColor: `color-mix(in srgb, ${v('primary-main')} 26%, transparent) !important`,
  },
  '.cm-matchingBracket, &.cm-focused .cm-matchingBracket': { backgroundColor: `color-mix(in srgb, ${v('primary-main')} 22%, transparent)` },
  '.cm-tooltip': { backgroundColor: v('background-paper'), color: v('text-primary'), border: `1px solid ${v('divider')}`, borderRadius: '6px' },
  '.cm-diagnostic': { fontFamily: 'inherit', padding: '4px 8px', whiteSpace: 'pre-wrap', maxWidth: '520px' },
  '.cm-panels': { backgroundColor: v('background-default'), color: v('text-primary') },
  '.cm-foldPlaceholder': { backgroundColor: v('background-default'), border: `1px solid ${v('divider')}`, color: v('text-secondary') },
  '.cm-lintPoint-error:after': { borderBottomColor: v('error-main') },
  '.cm-raised': { backgroundColor: `color-mix(in srgb, ${v('error-main')} 14%, transparent)` },
})

const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.controlKeyword, tags.moduleKeyword, tags.operatorKeyword, tags.definitionKeyword], color: v('code-keyword') },
  { tag: [tags.string, tags.special(tags.string), tags.regexp], color: v('code-string') },
  { tag: [tags.number, tags.bool, tags.null, tags.atom], color: v('code-number') },
  { tag: [tags.comment, tags.lineComment, tags.blockComment], color: v('code-comment') },
  { tag: [tags.function(tags.variableName), tags.function(tags.propertyName), tags.propertyName, tags.definition(tags.propertyName), tags.className], color: v('code-name') },
  { tag: tags.invalid, color: v('error-main') },
])

export function basics(options: { readOnly?: boolean }): Extension[] {
  return [
    EditorView.cspNonce.of(nonce),
    lineNumbers(),
    foldGutter(),
    lintGutter(),
    highlightSpecialChars(),
    history(),
    drawSelection(),
    indentOnInput(),
    indentUnit.of('    '),
    bracketMatching(),
    closeBrackets(),
    autocompletion(),
    highlightActiveLine(),
    highlightActiveLineGutter(),
    highlightSelectionMatches(),
    EditorState.allowMultipleSelections.of(true),
    syntaxHighlighting(colours),
    syntaxHighlighting(defaultHighlightStyle, { fallback: true }),
    // Tab indents; Escape, then Tab, leaves (CodeMirror's own rule for `indentWithTab`).
    keymap.of([...closeBracketsKeymap, ...defaultKeymap, ...searchKeymap, ...historyKeymap, ...foldKeymap, ...completionKeymap, ...lintKeymap, indentWithTab]),
    look,
    ...(options.readOnly ? [EditorState.readOnly.of(true)] : []),
  ]
}
