// What `darkroom bench pixels` is measured beside: sharp (libvips) doing the same work on one thread, without its cache.
// Reads lines of JSON {source, side, effort, output, thumb}, answers each with {seconds} of processor time, all threads.
import { createInterface } from 'node:readline'
import sharp from 'sharp'

sharp.concurrency(1)
sharp.cache(false)

async function shrink({ source, side, effort, output, thumb }) {
  const box = (side) => ({ width: side, height: side, fit: 'inside', withoutEnlargement: true })
  // Decoded once; both pictures are written from the resized pixels. sharp converts to sRGB by itself.
  const { data, info } = await sharp(source).autoOrient().resize(box(side)).raw().toBuffer({ resolveWithObject: true })
  await sharp(data, { raw: info }).webp({ quality: 85, effort }).toFile(output)
  await sharp(data, { raw: info }).resize(box(256)).webp({ quality: 80, effort }).toFile(thumb)
}

for await (const line of createInterface({ input: process.stdin })) {
  const started = process.cpuUsage()
  await shrink(JSON.parse(line))
  const { user, system } = process.cpuUsage(started)
  console.log(JSON.stringify({ seconds: (user + system) / 1e6 }))
}
