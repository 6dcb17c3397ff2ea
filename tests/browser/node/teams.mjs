import { ask, listed, openAccount, processOne, visit } from './accounts.mjs'
import { violations } from './axe.mjs'
import { assert, test } from './harness.mjs'

/** A team of somebody with a plan for it; they look at its members. */
async function openTeam(name, options) {
  const page = await openAccount(options)
  await visit(page, 'account')
  await page.click('#new-team')
  await page.fill('#naming-name', name)
  await page.click('#naming [value=yes]')
  await page.waitForSelector(`#team[open] #team-title >> text=${name}`)
  await page.waitForSelector('#members li')
  return page
}

/** Invites somebody, who has the address confirmed, and lets them answer. */
async function invite(owner, guest, role) {
  await ask((sql) => sql`update auth.users set email_confirmed_at = now() where email = ${guest.email}`)
  await owner.fill('#invite-email', guest.email)
  await owner.selectOption('#invite-role', role)
  await owner.click('#invite [type=submit]')
  await owner.locator('#invitations li').filter({ hasText: guest.email }).waitFor()
  await guest.reload()
  await guest.waitForSelector('#invited .notice')
}

const answer = (guest, text) => guest.click(`#invited button >> text=${text}`)

const library = async (page, name) => {
  await visit(page, 'library')
  await page.selectOption('#workspace', { label: name })
}

const shownWrites = (page) => page.locator('#library .writes:visible, #image .writes:visible').count()

test('a team shares a library: its owner gives pictures, an editor changes them, a viewer looks', async () => {
  const owner = await openTeam('Shop')
  const [editor, viewer] = [await openAccount({ plan: 'free' }), await openAccount({ plan: 'free' })]
  await invite(owner, editor, 'editor')
  await invite(owner, viewer, 'viewer')
  assert.deepEqual(await violations(owner), [])
  assert.deepEqual(await violations(editor), [])
  await answer(editor, 'Accept')
  await editor.waitForSelector('#toast >> text=You are in Shop.')
  await editor.waitForFunction(() => document.querySelector('#invited .notice') === null)
  await answer(viewer, 'Accept')
  await viewer.waitForSelector('#toast >> text=You are in Shop.')
  await owner.keyboard.press('Escape')

  await visit(owner, 'develop')
  await owner.check('#persist')
  await processOne(owner)
  await visit(owner, 'library')
  await listed(owner, 1)
  await owner.click('#select')
  await owner.click('#select-all')
  await owner.click('#bulk-move')
  await owner.selectOption('#placing-place', { label: 'Shop' })
  await owner.click('#placing [value=yes]')
  await owner.waitForSelector('#toast >> text=One image moved.')
  await listed(owner, 0)
  await library(owner, 'Shop')
  await listed(owner, 1)

  await library(editor, 'Shop')
  await listed(editor, 1)
  await editor.click('#new-collection')
  await editor.fill('#naming-name', 'Mugs')
  await editor.click('#naming [value=yes]')
  await editor.locator('.place').filter({ hasText: 'Mugs' }).waitFor()
  assert.deepEqual(await violations(editor), [])

  await library(viewer, 'Shop')
  await listed(viewer, 1)
  await viewer.locator('.place').filter({ hasText: 'Mugs' }).waitFor()
  assert.equal(await shownWrites(viewer), 0)
  await viewer.click('#images li > button')
  await viewer.waitForSelector('#image[data-state=open] #image-frame img')
  assert.equal(await shownWrites(viewer), 0)
  assert.equal(await viewer.isVisible('#version-download'), true)
  await viewer.keyboard.press('Escape')
  await viewer.selectOption('#workspace', { label: 'My library' })
  await listed(viewer, 0)
  assert.notEqual(await shownWrites(viewer), 0, 'at home they decide')
  assert.deepEqual([...owner.complaints, ...editor.complaints, ...viewer.complaints], [])
})

test('what an editor develops with a team in sight is kept in its library', async () => {
  const owner = await openTeam('Studio')
  const editor = await openAccount({ plan: 'free' })
  await invite(owner, editor, 'editor')
  await answer(editor, 'Accept')
  await editor.click('#toast >> text=Open its library')
  await editor.waitForSelector('#library:not([hidden])')
  await visit(editor, 'develop')
  assert.match(await editor.textContent('#persist-row'), /the library of Studio/)
  await editor.check('#persist')
  await processOne(editor)
  assert.match(await editor.textContent('#kept'), /Kept in/)
  await owner.keyboard.press('Escape')
  await library(owner, 'Studio')
  await listed(owner, 1)
})

test('roles change, members go, invitations end, and a team is renamed, handed over and deleted', async () => {
  const owner = await openTeam('Shop')
  const [ada, bob, eve] = [await openAccount(), await openAccount(), await openAccount()]
  for (const guest of [ada, bob, eve]) await invite(owner, guest, 'viewer')
  await answer(ada, 'Accept')
  await answer(bob, 'Accept')
  for (const guest of [ada, bob]) await guest.waitForSelector('#toast >> text=You are in Shop.')
  await answer(eve, 'Decline')
  await eve.waitForFunction(() => document.querySelector('#invited .notice') === null)

  await owner.fill('#team-name', 'Shop & Sons')
  await owner.click('#team-form [type=submit]')
  await owner.waitForSelector('#team-title >> text=Shop & Sons')
  const row = (guest) => owner.locator('#members li').filter({ hasText: guest.email })
  await row(ada).waitFor()
  await row(ada).locator('select').selectOption('editor')
  await visit(ada, 'account')
  await ada.locator('#teams li').filter({ hasText: 'Editor' }).waitFor()

  await row(bob).getByRole('button', { name: 'Remove' }).click()
  await owner.click('#confirm-yes')
  await row(bob).waitFor({ state: 'detached' })
  await visit(bob, 'account')
  await bob.waitForSelector('#teams >> text=None yet.')

  await row(ada).locator('select').selectOption('owner')
  await owner.click('#confirm-yes')
  await owner.waitForSelector('#team-facts >> text=You are an editor')
  assert.equal(await owner.isVisible('#team-owner'), false)
  await owner.getByRole('button', { name: 'Leave' }).click()
  await owner.click('#confirm-yes')
  await owner.waitForSelector('#team', { state: 'hidden' })
  await owner.waitForSelector('#teams >> text=None yet.')

  await ada.reload()
  await ada.getByRole('button', { name: 'Members of Shop & Sons' }).click()
  await ada.waitForSelector('#team-owner:not([hidden])')
  await ada.fill('#team-delete-name', 'Shop')
  assert.equal(await ada.isDisabled('#team-delete-go'), true)
  await ada.fill('#team-delete-name', 'Shop & Sons')
  await ada.click('#team-delete-go')
  await ada.waitForSelector('#team', { state: 'hidden' })
  await ada.waitForSelector('#teams >> text=None yet.')
  assert.deepEqual([...owner.complaints, ...ada.complaints, ...bob.complaints, ...eve.complaints], [])
})

test('a plan without teams is told so, and the page of a team fits a narrow phone', async () => {
  const page = await openAccount({ plan: 'free' })
  await visit(page, 'account')
  await page.click('#new-team')
  await page.fill('#naming-name', 'Shop')
  await page.click('#naming [value=yes]')
  await page.waitForSelector('#teams-problem:not(:empty)')
  assert.match(await page.textContent('#teams-problem'), /plan/)
  const owner = await openTeam('Shop', { viewport: { width: 320, height: 640 } })
  assert.ok(await owner.$eval('#team', (element) => element.scrollWidth <= element.clientWidth))
})
