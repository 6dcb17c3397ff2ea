import { ask, listed, openAccount, processOne, visit } from './accounts.mjs'
import { violations, violationsInBothSchemes } from './axe.mjs'
import { assert, open, test } from './harness.mjs'
import { freshKey } from './jobs.mjs'

/** Processes the picture, keeps the result and goes to the library. */
async function keepOne(page) {
  await page.check('#persist')
  await processOne(page)
  await visit(page, 'library')
  await listed(page, 1)
}

async function openImage(page) {
  await page.click('#images li > button')
  await page.waitForSelector('#image[data-state=open] #image-frame img')
}

/** Runs an op on the original that is kept; its version is looked at then. */
async function rerun(page, keys, versions) {
  await page.fill('#rerun-keys', keys)
  await page.click('#rerun [type=submit]')
  await page.waitForFunction(
    (versions) => document.querySelectorAll('#versions li').length === versions,
    versions,
  )
  await idle(page)
}

const idle = (page) => page.waitForSelector('#image:not([aria-busy])', { state: 'attached' })
const title = (page) => page.textContent('#version-title')
const current = (page) => page.textContent('#versions button:has(.current) .name')
const confirm = async (page) => {
  await page.click('#confirm-yes')
  await page.waitForSelector('#confirm', { state: 'hidden' })
  await idle(page)
}

test('what is kept is listed, runs again without an upload, and goes back to an older version', async () => {
  const page = await openAccount()
  await keepOne(page)
  assert.match(await page.textContent('#plan'), /credits/)
  await openImage(page)
  assert.equal(await title(page), 'Version 1')
  assert.match(await page.textContent('#image-facts'), /800 × 600.*original kept/)
  assert.equal(await page.locator('#image-frame .slider img').count(), 2, 'the original is beside it')
  const uploads = []
  page.on('request', (request) => /\/upload\//.test(request.url()) && uploads.push(request.url()))
  await rerun(page, freshKey(), 2)
  assert.equal(await title(page), 'Version 2')
  assert.equal(await current(page), 'Version 2')
  assert.deepEqual(uploads, [])

  const saved = await page.request.get(await page.getAttribute('#version-download', 'href'))
  assert.match(saved.headers()['content-disposition'], /attachment.*product/)
  await page.click('#versions li:last-child button')
  await page.click('#restore')
  await page.waitForFunction(() => /current now/.test(document.querySelector('#image-status').textContent))
  await idle(page)
  assert.equal(await current(page), 'Version 1')
  await page.click('#delete-version')
  await confirm(page)
  await page.waitForFunction(() => document.querySelectorAll('#versions li').length === 1)
  assert.equal(await current(page), 'Version 2')
  await page.click('#delete-image')
  await confirm(page)
  await listed(page, 0)
  assert.deepEqual(page.complaints, [])
})

test('two ops at once are compared with each other', async () => {
  const page = await openAccount()
  await keepOne(page)
  await openImage(page)
  await rerun(page, `${freshKey()} ${freshKey()}`, 3)
  const labels = await page.$$eval('#image-frame :is(.tag, figcaption)', (tags) =>
    tags.map((tag) => tag.textContent),
  )
  assert.deepEqual(labels.sort(), ['Version 2', 'Version 3'])
  await page.selectOption('#compare', 'original')
  await page.waitForFunction(() => /Original/.test(document.querySelector('#image-frame').textContent))
})

test('the dialog of an image closes when the address leads elsewhere', async () => {
  const page = await openAccount()
  await keepOne(page)
  await openImage(page)
  await page.evaluate(() => {
    location.hash = '#account'
  })
  await page.waitForSelector('#image', { state: 'hidden' })
  assert.equal(await page.isVisible('#account'), true)
  assert.deepEqual(page.complaints, [])
})

test('an ephemeral result can be kept from the image view', async () => {
  const page = await openAccount()
  await processOne(page)
  await visit(page, 'library')
  await listed(page, 1)
  assert.match(await page.textContent('#images .left-over'), /hours left/)
  await openImage(page)
  assert.equal(await title(page), 'Not kept')
  await page.click('#promote')
  await page.waitForFunction(() => document.querySelector('#version-title').textContent === 'Version 1')
  assert.equal(await page.isVisible('#promote'), false)
})

/** A place of the library, by its name. */
const place = (page, name, count) =>
  page
    .locator('.place')
    .filter({ has: page.locator(`.name:text-is("${name}")`) })
    .filter({ hasText: count === undefined ? '' : `, ${count}` })

/** Fills the dialog of a collection. */
async function name(page, name, inside) {
  await page.fill('#naming-name', name)
  if (inside) await page.selectOption('#naming-parent', { label: inside })
  await page.click('#naming [value=yes]')
}

test('a collection is made, filled, filtered by, renamed and deleted; the archive hides', async () => {
  const page = await openAccount()
  await keepOne(page)
  await page.click('#new-collection')
  await name(page, 'Mugs')
  await place(page, 'Mugs', 0).click()
  await listed(page, 0)
  assert.equal(await page.textContent('#library-title'), 'Mugs')
  await page.click('[data-shelf=all]')
  await listed(page, 1)
  await openImage(page)
  await page.getByRole('checkbox', { name: 'Mugs' }).check()
  await page.waitForFunction(() => /Added/.test(document.querySelector('#image-status').textContent))
  await page.keyboard.press('Escape')
  await place(page, 'Mugs', 1).click()
  await listed(page, 1)
  await page.click('#edit-collection')
  await name(page, 'Cups')
  await place(page, 'Cups', 1).waitFor()
  await page.click('#delete-collection')
  await page.click('#confirm-yes')
  await page.waitForSelector('[data-shelf=all][aria-pressed=true]')
  await listed(page, 1)

  await page.fill('#q', 'nothing-of-that-name')
  await listed(page, 0)
  await page.click('#void-action')
  await listed(page, 1)
  await page.fill('#q', 'produ')
  await page.selectOption('#made-when', '7')
  await listed(page, 1)
  await ask(
    (sql) => sql`
      update images set created_at = now() - interval '8 days' from auth.users as u where u.id = user_id and email = ${page.email}`,
  )
  await page.selectOption('#made-when', '1')
  await listed(page, 0)
  await page.selectOption('#made-when', '')
  await listed(page, 1)
  await openImage(page)
  await page.click('#archive')
  await page.waitForSelector('#image', { state: 'hidden' })
  await listed(page, 0)
  await page.click('[data-shelf=archive]')
  await listed(page, 1)
  assert.deepEqual(page.complaints, [])
})

test('collections nest one level, and move into another one and out of it', async () => {
  const page = await openAccount()
  await visit(page, 'library')
  const outer = (inner) => place(page, inner).locator('.outer').textContent()
  for (const one of ['Spring', 'Autumn']) {
    await page.click('#new-collection')
    await name(page, one)
    await place(page, one).waitFor()
  }
  await page.click('#new-collection')
  await name(page, 'Mugs', 'Spring')
  await place(page, 'Mugs').click()
  assert.equal(await outer('Mugs'), 'Spring / ')
  await page.click('#edit-collection')
  assert.deepEqual(
    await page.$$eval('#naming-parent option', (options) => options.map((option) => option.textContent)),
    ['No other', 'Autumn', 'Spring'],
  )
  await name(page, 'Mugs', 'Autumn')
  await page.waitForFunction(() => document.querySelector('.place.inner .outer').textContent === 'Autumn / ')
  await place(page, 'Autumn').click()
  await page.click('#edit-collection')
  assert.equal(await page.isVisible('#naming-parent'), false, 'it holds another one')
  assert.match(await page.textContent('#naming-hint'), /collections inside/)
  await page.keyboard.press('Escape')
  await place(page, 'Mugs').click()
  await page.click('#edit-collection')
  await name(page, 'Mugs', 'No other')
  await page.waitForFunction(() => document.querySelector('.place.inner') === null)
  assert.deepEqual(page.complaints, [])
})

/** A library of some images, drawn anew; their names count from 1, the newest. */
async function fill(page, count) {
  await ask(
    (sql) => sql`
      insert into images (user_id, sha256, filename, content_type, width, height, size, created_at)
      select id, encode(sha256(convert_to(email || number, 'utf8')), 'hex'), 'picture ' || number || '.jpg',
        'image/jpeg', 10, 10, 100, now() - number * interval '1 minute'
      from auth.users, generate_series(1, ${count}::integer) as number where email = ${page.email}`,
  )
  await page.reload()
  await visit(page, 'library')
}

const names = (page) => page.$$eval('#images .name', (names) => names.map((name) => name.textContent))

test('many are selected, moved, archived and brought back, and deleted once it is confirmed', async () => {
  const page = await openAccount()
  await fill(page, 5)
  await listed(page, 5)
  for (const one of ['Spring', 'Autumn']) {
    await page.click('#new-collection')
    await name(page, one)
    await place(page, one).waitFor()
  }
  const box = (number) => page.getByRole('checkbox', { name: `Select picture ${number}.jpg` })
  await page.click('#select')
  assert.equal(await page.isDisabled('#bulk-move'), true)
  await box(2).check()
  await box(4).click({ modifiers: ['Shift'] })
  assert.equal(await page.textContent('#selection-count'), '3 selected')
  assert.deepEqual(await violations(page), [])
  await page.click('#bulk-move')
  await page.selectOption('#placing-place', { label: 'Spring' })
  await page.click('#placing [value=yes]')
  await page.waitForSelector('#toast >> text=3 images moved.')
  await place(page, 'Spring', 3).waitFor()
  assert.equal(await page.isVisible('#selection'), false)
  assert.equal(await page.evaluate(() => document.activeElement.id), 'library-title')

  await box(4).check()
  await box(5).check()
  await page.click('#bulk-move')
  await page.selectOption('#placing-place', { label: 'Autumn' })
  await page.click('#placing [value=yes]')
  await place(page, 'Autumn', 2).waitFor()
  await page.click('#toast >> text=Undo')
  await place(page, 'Autumn', 0).waitFor()
  await place(page, 'Spring', 3).waitFor()

  await box(1).check()
  await box(2).check()
  await page.click('#bulk-archive')
  await listed(page, 3)
  await page.click('#toast >> text=Undo')
  await listed(page, 5)

  await page.click('#select')
  await page.click('#select-all')
  await box(3).uncheck()
  await page.click('#bulk-delete')
  await page.waitForSelector('#confirm[open]')
  assert.match(await page.textContent('#confirm'), /Delete 4 images\?.*cannot be undone/s)
  await page.keyboard.press('Escape')
  assert.equal((await names(page)).length, 5)
  await page.click('#bulk-delete')
  await page.click('#confirm-yes')
  await listed(page, 1)
  assert.deepEqual(await names(page), ['picture 3.jpg'])
  await box(3).check()
  await page.keyboard.press('Escape')
  assert.equal(await page.isVisible('#selection'), false)
  assert.deepEqual(page.complaints, [])
})

test('the list grows page by page as it is scrolled, and only the filter in sight is drawn', async () => {
  const page = await openAccount()
  await fill(page, 60)
  await listed(page, 24)
  assert.equal((await names(page))[0], 'picture 1.jpg')
  for (const count of [48, 60]) {
    await page.locator('#more').scrollIntoViewIfNeeded()
    await listed(page, count)
  }
  assert.equal(await page.isVisible('#more'), false)
  await page.fill('#q', '59')
  await listed(page, 1)
  assert.deepEqual(await names(page), ['picture 59.jpg'])
})

test('a share link opens without a session, is shown once, and ends when it is revoked', async () => {
  const page = await openAccount()
  await keepOne(page)
  await openImage(page)
  await page.click('#share-open')
  await page.fill('#share-views', '5')
  await page.click('#share-form [type=submit]')
  await page.waitForSelector('#share-made:not([hidden])')
  const url = new URL(await page.inputValue('#share-url'))
  assert.match(url.pathname, /^\/s\/[\w-]{22}$/)
  await page.waitForSelector('#shares >> text=0 of 5 views')
  const stranger = await open(url.pathname)
  assert.ok(await stranger.$eval('img', (image) => image.decode().then(() => image.naturalWidth)))

  await page.click('#share .close button')
  await page.click('#share-open')
  await page.waitForSelector('#shares >> text=1 of 5 views')
  assert.equal(await page.inputValue('#share-url'), '')
  await page.click('#shares button')
  await page.waitForSelector('#shares >> text=Revoked')
  assert.equal((await stranger.reload()).status(), 410)
})

test('everything is taken along as a zip, then deleted with the account, and the receipt stays', async () => {
  const page = await openAccount()
  await keepOne(page)
  await visit(page, 'account')
  await page.click('#my-data')
  await page.click('#export')
  await page.waitForSelector('#export-download:not([hidden])')
  const zip = await page.request.get(await page.getAttribute('#export-download', 'href'))
  assert.equal((await zip.body()).subarray(0, 2).toString(), 'PK')
  await page.fill('#delete-confirm', 'delete my date')
  assert.equal(await page.isDisabled('#delete-go'), true)
  await page.fill('#delete-confirm', 'delete my data')
  await page.check('#delete-account')
  await page.click('#delete-go')
  await page.waitForSelector('#receipt:not([hidden])')
  assert.match(await page.textContent('#receipt-facts'), /user-library \d+.*images 1/)
  assert.match(await page.textContent('#receipt-facts'), /Accountdeleted/)
  await page.waitForSelector('#tabs', { state: 'hidden' }) // and nobody is signed in any more
  await listed(page, 0)
  assert.deepEqual(page.complaints, [])
})

test('axe finds nothing in any view of the library, by day and by night', async () => {
  const page = await openAccount()
  await keepOne(page)
  assert.deepEqual(await violationsInBothSchemes(page), [])
  await page.click('#new-collection')
  assert.deepEqual(await violationsInBothSchemes(page), [])
  await name(page, 'Mugs')
  await place(page, 'Mugs', 0).click()
  await listed(page, 0)
  assert.deepEqual(await violationsInBothSchemes(page), [])
  await page.click('#delete-collection')
  assert.deepEqual(await violationsInBothSchemes(page), [])
  await page.keyboard.press('Escape')
  await page.click('[data-shelf=all]')
  await listed(page, 1)
  await openImage(page)
  assert.deepEqual(await violationsInBothSchemes(page), [])
  await page.click('#share-open')
  await page.click('#share-form [type=submit]')
  await page.waitForSelector('#shares button')
  assert.deepEqual(await violationsInBothSchemes(page), [])
  await page.keyboard.press('Escape')
  await page.keyboard.press('Escape')
  await visit(page, 'account')
  await page.click('#my-data')
  assert.deepEqual(await violationsInBothSchemes(page), [])
})

test('the library fits a narrow phone, and the keyboard goes in and out of an image', async () => {
  const page = await openAccount({ viewport: { width: 320, height: 640 } })
  await keepOne(page)
  const fits = async (selector) =>
    assert.ok(await page.$eval(selector, (element) => element.scrollWidth <= element.clientWidth), selector)
  await fits('html')
  await page.focus('#images li > button')
  await page.keyboard.press('Enter')
  await page.waitForSelector('#image[data-state=open] #image-frame img')
  await fits('#image')
  await page.focus('#share-open')
  await page.keyboard.press('Enter')
  await page.waitForSelector('#share[open]')
  await fits('#share')
  await page.keyboard.press('Escape')
  assert.equal(await page.evaluate(() => document.activeElement.id), 'share-open')
  await page.keyboard.press('Escape')
  assert.ok(await page.evaluate(() => document.activeElement.closest('#images') !== null))
  await visit(page, 'account')
  await fits('html')
  await page.click('#my-data')
  await fits('#data')
})
