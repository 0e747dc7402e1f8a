// Before the first paint, so that nothing flashes: what was chosen, or what the system says.
(function () {
  var mode = null
  try {
    mode = localStorage.getItem('opendmp-mode')
  } catch (_) {
    // Storage may be switched off; then the system decides.
  }
  var dark = mode === 'dark' || (mode !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches)
  document.documentElement.setAttribute('data-theme', dark ? 'dark' : 'light')
})()
