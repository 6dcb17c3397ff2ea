// What the cases of the browser share: one Chromium, relays, clients.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createServer, connect } from 'node:net'
import { once } from 'node:events'
import { chromium } from 'playwright-core'
import { run as runCases } from '../../node/cases.mjs'

export const scene = JSON.parse(process.env.BROWSER_TESTS)
export const { local, pictures, chromium: executablePath } = scene
export { assert }
export { test } from '../../node/cases.mjs'

/** Runs the cases, or those whose name matches; none finds anything that another has left in a page. */
export const run = (only) =>
  runCases({
    only,
    after: (error) => Promise.all([...used].map((page) => (error ? discard(page) : clear(page).catch(() => discard(page))))),
  })

/** A TCP relay to a server, that can be told to break the connection in the middle. */
export class Relay {
  constructor(url) {
    this.target = new URL(url)
    this.sockets = new Set()
    this.heard = '' // what clients said, as latin-1
    this.onSent = () => {}
    this.onReceived = () => {}
    this.server = createServer((client) => this.relay(client))
  }

  async listen() {
    this.server.listen(0, '127.0.0.1')
    await once(this.server, 'listening')
    this.url = `http://127.0.0.1:${this.server.address().port}`
    return this
  }

  relay(client) {
    const upstream = connect(this.target.port, this.target.hostname)
    const cut = () => {
      client.resetAndDestroy()
      upstream.destroy()
    }
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ]) {
      from.on('data', (chunk) => {
        if (from === client) this.heard += chunk.subarray(0, 2000).toString('latin1')
        to.write(chunk)
        if (from === client) this.onSent(chunk, cut)
        else this.onReceived(chunk, cut)
      })
      from.on('error', () => to.destroy())
      from.on('close', () => to.destroy())
    }
    this.sockets.add(client)
    client.on('close', () => this.sockets.delete(client))
  }

  /** Resets the connection that has carried this many bytes from now on, once. */
  cutAfterSending(bytes) {
    return new Promise((resolve) => {
      let left = bytes
      this.onSent = (chunk, cut) => {
        left -= chunk.length
        if (left > 0) return
        this.onSent = () => {}
        cut()
        resolve()
      }
    })
  }

  close() {
    for (const socket of this.sockets) socket.destroy()
    this.server.close()
  }
}

/** Everything the browser says to Supabase goes through this. */
export const supabase = await new Relay(local.supabase_url).listen()

export const browser = await chromium.launch({
  executablePath,
  args: [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-background-networking',
    '--no-first-run',
    '--disable-quic',
    '--disable-component-update',
    '--disable-sync',
    `--host-resolver-rules=MAP ${new URL(local.supabase_url).host} ${new URL(supabase.url).host}`,
  ],
})

/**
 * Pages of cases that are over, each the only one of its context. A fresh one costs the processor three times as much:
 * it starts a process, and reads and compiles all modules.
 */
const free = []
const used = new Set()

const EVENTS = ['console', 'download', 'pageerror', 'request', 'response', 'worker']

/** For a page that is not known to be as before. */
function discard(page) {
  used.delete(page)
  return page.context().close()
}

/** Leaves nothing of a case in the page but the files that the API lets a browser keep. */
export async function clear(page) {
  for (const event of EVENTS) page.removeAllListeners(event)
  await page.unrouteAll({ behavior: 'ignoreErrors' })
  const others = page.context().pages().filter((other) => other !== page)
  await Promise.all(others.map((other) => other.close()))
  await page.goto(`${local.api_url}/health`) // from here on no script of the case runs
  await page.evaluate(() => sessionStorage.clear())
  for (const url of [local.api_url, local.supabase_url])
    await page.inspector.send('Storage.clearDataForOrigin', { origin: new URL(url).origin, storageTypes: 'all' })
  used.delete(page)
  free.push(page)
}

/** Spares the processor what it would draw at every frame. */
function drawLess() {
  const sheet = new CSSStyleSheet()
  sheet.replaceSync(`
    dialog::backdrop { backdrop-filter: none !important; }
    @media (prefers-reduced-motion: reduce) { *, ::before, ::after { animation: none !important; } }`)
  document.adoptedStyleSheets.push(sheet)
}

async function newPage(bypassCSP) {
  const context = await browser.newContext({ bypassCSP })
  await context.addInitScript(drawLess)
  const page = await context.newPage()
  return Object.assign(page, { bypassCSP, inspector: await context.newCDPSession(page) })
}

/**
 * A page without cookies, whose storage is empty but for what is `kept` in it. It is small and without motion unless
 * asked for, since the processor draws each frame of it. `page.complaints` collects errors of its scripts and refusals of its content policy.
 */
export async function open(path = '/', options = {}) {
  const { bypassCSP = false, viewport = { width: 1280, height: 640 }, kept = {}, ...media } = options
  const at = free.findLastIndex((page) => page.bypassCSP === bypassCSP)
  const page = at < 0 ? await newPage(bypassCSP) : free.splice(at, 1)[0]
  used.add(page)
  await page.setViewportSize(viewport)
  await page.emulateMedia({ reducedMotion: 'reduce', colorScheme: 'light', ...media })
  page.complaints = []
  page.on('pageerror', (error) => page.complaints.push(error.stack))
  page.on('console', (message) => {
    if (message.type() === 'error' && !/^Failed to load resource/.test(message.text()))
      page.complaints.push(message.text())
  })
  if (Object.keys(kept).length) {
    await page.goto(`${local.api_url}/health`)
    await page.evaluate((kept) => Object.assign(localStorage, kept), kept)
  }
  await page.goto(local.api_url + path)
  return page
}

/** The playground, ready for use. */
export async function openPlayground(options) {
  const page = await open('/', options)
  await page.waitForSelector('html[data-ready]')
  return page
}

/**
 * A page of the API's origin with darkroom.js in `window.lib` and a client in `window.darkroom`. The address answers with
 * data, whose content policy allows no script.
 */
export async function openClient(token) {
  const page = await open('/health', { bypassCSP: true })
  await prepareClient(page, token)
  return page
}

export const prepareClient = (page, token) =>
  page.evaluate(async (token) => {
    window.lib = await import('/static/darkroom.js')
    window.darkroom = window.lib.createDarkroom({ apiUrl: location.origin, getAccessToken: () => token })
    const input = document.createElement('input')
    Object.assign(input, { type: 'file', id: 'given' })
    document.body.append(input)
  }, token)

/** The access token of a fresh user. */
export async function signUp() {
  const answer = await fetch(`${local.supabase_url}/auth/v1/signup`, {
    method: 'POST',
    headers: { apikey: local.publishable_key, 'Content-Type': 'application/json' },
    body: JSON.stringify({ email: `${randomUUID()}@example.com`, password: randomUUID() }),
  })
  assert.equal(answer.status, 200)
  return (await answer.json()).access_token
}

/** A picture of the test as a File in the page. */
export async function give(page, name) {
  await page.setInputFiles('#given', pictures[name].path)
  return page.evaluateHandle(() => document.querySelector('#given').files[0])
}

/** What a promise in the page was rejected with, as plain data. */
export const rejection = (page, body, argument) =>
  page.evaluate(
    async ({ source, argument }) => {
      const body = (0, eval)(`(${source})`)
      try {
        await body(argument)
      } catch (error) {
        const { name, code, status, source, message, retryable } = error
        return { name, code, status, source, message, retryable }
      }
      return null
    },
    { source: String(body), argument },
  )
