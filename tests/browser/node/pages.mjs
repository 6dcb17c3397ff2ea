import { assert, clear, open, test } from './harness.mjs'

test('a page that several cases use keeps nothing of the case before', async () => {
  const page = await open()
  await page.route('**/ops', (route) => route.abort())
  await page.evaluate(async () => {
    localStorage.left = sessionStorage.left = 'behind'
    document.cookie = 'left=behind; path=/'
    await caches.open('left')
    await new Promise((resolve) => (indexedDB.open('left').onsuccess = resolve))
  })
  let heard = 0
  page.on('request', () => heard++)
  await clear(page)
  const again = await open()
  assert.equal(again, page, 'it is used again')
  assert.equal(heard, 0)
  const left = await page.evaluate(async () => ({
    local: localStorage.left,
    session: sessionStorage.left,
    cookie: document.cookie,
    caches: await caches.keys(),
    databases: await indexedDB.databases(),
    ops: (await fetch('/ops')).status,
  }))
  assert.deepEqual(left, { local: undefined, session: undefined, cookie: '', caches: [], databases: [], ops: 200 })
})
