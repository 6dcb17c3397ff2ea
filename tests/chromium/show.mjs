// Shows picture files in headless Chromium, each at its own size, and writes what is seen as PNG with alpha.
// stdin: {"chromium": path, "files": [[path, content type, path of the PNG to write], ...]}; stdout: a JSON list of
// [width, height] by file, null where Chromium cannot show it.
import { readFileSync } from 'node:fs'
import { chromium } from 'playwright-core'

const { chromium: executablePath, files } = JSON.parse(readFileSync(0))
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu', '--force-color-profile=srgb', '--blink-settings=imageAnimationPolicy=2'] })
const page = await browser.newPage({ viewport: { width: 64, height: 64 } })
await page.route('**/*', (route) => {
  const at = Number(new URL(route.request().url()).pathname.slice(1))
  return at < 0 || Number.isNaN(at)
    ? route.fulfill({ contentType: 'text/html', body: '<!doctype html><style>body{margin:0}img{display:block}</style>' })
    : route.fulfill({ contentType: files[at][1], body: readFileSync(files[at][0]) })
})
await page.goto('http://pictures.invalid/page')
const sizes = []
for (const [at, [, , target]] of files.entries()) {
  const size = await page.evaluate(async (source) => {
    const image = new Image()
    image.src = source
    document.body.replaceChildren(image)
    const loaded = await image.decode().then(() => true, () => false)
    return loaded ? [image.naturalWidth, image.naturalHeight] : null
  }, `/${at}`)
  if (size) {
    await page.setViewportSize({ width: Math.min(size[0], 8192), height: Math.min(size[1], 8192) })
    await page.screenshot({ path: target, omitBackground: true, animations: 'disabled' })
  }
  sizes.push(size)
}
await browser.close()
process.stdout.write(JSON.stringify(sizes))
