// The nonce that the server put into this page; styles that are made by scripts carry it.
const said = typeof document === 'undefined' ? null : document.querySelector('meta[name="csp-nonce"]')?.getAttribute('content')

export const nonce: string = said && said !== '__CSP_NONCE__' ? said : ''
