// Buying in the playground. Stripe's own pages are played by the address in `till`; see tests/payments/test_playground.py.
import { openAccount, visit } from '../../browser/node/accounts.mjs'
import { violations } from '../../browser/node/axe.mjs'
import { assert, browser, run, scene, supabase, test } from '../../browser/node/harness.mjs'

/** An account on the free plan; the pages of Stripe lead to the test's. */
async function openBuyer() {
  const page = await openAccount({ plan: 'free' })
  await page.route(/^https:\/\/(checkout|billing)\.stripe\.com\//, (route) => {
    const { hostname, pathname } = new URL(route.request().url())
    const headers = { location: `${scene.till}/${hostname.split('.')[0]}/${pathname.split('/').at(-1)}` }
    return route.fulfill({ status: 303, headers })
  })
  await visit(page, 'account')
  await page.waitForSelector('#plan-title >> text=Free plan')
  return page
}

const says = (page, id, text) =>
  page.waitForFunction(
    ({ id, text }) => document.getElementById(id).checkVisibility() && document.getElementById(id).textContent.includes(text),
    { id, text },
  )

test('paying: a plan is chosen, paid, ended, taken up again and exchanged for a larger one', async () => {
  const page = await openBuyer()
  assert.equal(await page.isVisible('#billing-portal'), false)
  await page.click('#show-plans')
  await page.waitForSelector('#offers [data-plan=basic] button')
  assert.equal(await page.locator('#offers [data-plan=enterprise] button').count(), 0, 'by agreement')
  assert.deepEqual(await violations(page), [])
  await page.click('#offers [data-plan=basic] button')
  await page.waitForSelector('#toast >> text=Thank you')
  await says(page, 'plan-title', 'Basic plan')
  await says(page, 'plan-price', 'renews on')
  assert.equal(await page.textContent('#balance'), '400')
  assert.deepEqual(await violations(page), [])

  await page.click('#cancel-plan')
  await page.click('#confirm-yes')
  await says(page, 'plan-note', 'It ends on')
  await page.click('#resume-plan')
  await page.waitForSelector('#plan-note', { state: 'hidden' })

  await page.click('#show-plans')
  await page.click('#offers [data-plan=pro] button')
  await page.click('#confirm-yes')
  await says(page, 'plan-title', 'Pro plan')
  await page.waitForSelector('#plans', { state: 'hidden' })
  await page.click('#billing-portal')
  await page.waitForSelector('text=Cards and invoices of Stripe')
})

test('paying: credits are bought on top', async () => {
  const page = await openBuyer()
  await page.click('#show-plans')
  const pack = page.locator('#packs li').first()
  const credits = Number((await pack.textContent()).match(/^[\d,]+/)[0].replace(',', ''))
  await pack.locator('button').click()
  await page.waitForSelector('#toast >> text=Thank you')
  await says(page, 'balance', (100 + credits).toLocaleString('en-US'))
  await says(page, 'expiring', `${credits.toLocaleString('en-US')} bought`)
})

test('paying: what costs more than there is, is told before and refused with what to do', async () => {
  const page = await openBuyer()
  await visit(page, 'develop')
  await page.click('#sample')
  await page.waitForSelector('#run:enabled')
  await page.fill('#op-key', scene.dear)
  await says(page, 'price', 'Costs 500 credits')
  await page.click('#run')
  await page.waitForSelector('#problem:not([hidden])')
  assert.match(await page.textContent('#problem'), /500.*insufficient_credits · HTTP 402/)
  await page.click('#problem >> text=Your credits')
  await page.waitForSelector('#account:not([hidden])')
})

await run(/^paying/)
await browser.close()
supabase.close()
process.exit(0)
