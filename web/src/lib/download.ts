// Gives the browser something to save.
import { address } from '../api/client'

export function save(content: Blob, name: string) {
  const url = URL.createObjectURL(content)
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  setTimeout(() => URL.revokeObjectURL(url), 10_000)
}

let frame: HTMLIFrameElement | undefined

/**
 * Asks for a file with a form, so that it goes from the server to the disk and never through the page, however large it is.
 * What comes as a file leaves the page as it is; where something else comes, a refusal, `refused` is called. It cannot be
 * read: pages of the server let nobody frame them.
 */
export function postForFile(path: string, fields: Record<string, string>, refused: () => void) {
  frame?.remove()
  const place = document.createElement('iframe')
  place.hidden = true
  place.name = `download-${Date.now()}`
  document.body.append(place)
  frame = place
  place.addEventListener('load', () => {
    try {
      // The empty document that it begins with, in some browsers only now.
      if (place.contentWindow?.location.href === 'about:blank') return
    } catch {
      // Another document is there, which may not be looked at.
    }
    refused()
  })
  const form = document.createElement('form')
  form.method = 'post'
  form.action = address(path)
  form.target = place.name
  form.hidden = true
  for (const [name, value] of Object.entries(fields)) {
    const field = document.createElement('input')
    field.type = 'hidden'
    field.name = name
    field.value = value
    form.append(field)
  }
  document.body.append(form)
  form.submit()
  form.remove()
}
