// Draws SVG files in Chromium, as a page's <img> would. DRAWINGS: {chromium, drawings: [{name, source, width, height}]}, paths
// of files; prints {name, error} and writes `<source>.png`.
import { readFile, writeFile } from 'node:fs/promises'
import { chromium } from 'playwright-core'

const { chromium: executablePath, drawings } = JSON.parse(process.env.DRAWINGS)
const browser = await chromium.launch({ executablePath, args: ['--headless', '--no-sandbox', '--disable-gpu', '--force-color-profile=srgb'] })
const page = await browser.newPage()
for (const { name, source, width, height } of drawings) {
  const data = (await readFile(source)).toString('base64')
  const drawn = await page.evaluate(draw, { data, width, height }).catch((error) => ({ error: String(error) }))
  if (drawn.png) await writeFile(`${source}.png`, Buffer.from(drawn.png, 'base64'))
  console.log(JSON.stringify({ name, error: drawn.error ?? null }))
}
await browser.close()

async function draw({ data, width, height }) {
  const image = new Image()
  image.src = `data:image/svg+xml;base64,${data}`
  await image.decode()
  const canvas = Object.assign(document.createElement('canvas'), { width, height })
  canvas.getContext('2d').drawImage(image, 0, 0, width, height)
  return { png: canvas.toDataURL('image/png').split(',')[1] }
}
