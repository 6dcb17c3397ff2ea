import { assert, makeBucket, ok, refused, service, signUp, test } from './harness.mjs'

const MISSING = 'contract-there-is-none'

test('createBucket and getBucket agree on every setting', async () => {
  const name = await makeBucket({
    public: true,
    fileSizeLimit: '2MB',
    allowedMimeTypes: ['image/png', 'text/*'],
  })
  const bucket = ok(await service.storage.getBucket(name))
  assert.equal(bucket.id, name)
  assert.equal(bucket.name, name)
  assert.equal(bucket.owner, '')
  assert.equal(bucket.public, true)
  assert.equal(bucket.file_size_limit, 2_000_000)
  assert.deepEqual(bucket.allowed_mime_types, ['image/png', 'text/*'])
  assert.match(bucket.created_at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
})

test('createBucket refuses a name twice', async () => {
  const name = await makeBucket()
  const error = refused(await service.storage.createBucket(name, { public: false }), 409)
  assert.equal(error.message, 'The resource already exists')
  assert.equal(error.status, 400)
})

test('createBucket refuses invalid settings', async () => {
  refused(await service.storage.createBucket('no/slash', { public: false }), 400, 'InvalidBucketName')
  const settings = { public: false, fileSizeLimit: 'much' }
  refused(await service.storage.createBucket('contract-size', settings), 400)
  const types = { public: false, allowedMimeTypes: ['picture'] }
  refused(await service.storage.createBucket('contract-mime', types), 415)
})

test('createBucket by a user without a policy is denied', async () => {
  const { client } = await signUp()
  const error = refused(await client.storage.createBucket('contract-of-a-user', { public: true }), 403)
  assert.equal(error.message, 'new row violates row-level security policy')
})

test('getBucket tells a missing bucket', async () => {
  const error = refused(await service.storage.getBucket(MISSING), 404, 'NoSuchBucket')
  assert.equal(error.message, 'Bucket not found')
})

test('listBuckets searches, sorts and cuts', async () => {
  const name = await makeBucket()
  const all = ok(await service.storage.listBuckets())
  assert.ok(all.some((bucket) => bucket.id === name))
  const found = ok(
    await service.storage.listBuckets({
      limit: 1,
      offset: 0,
      search: name,
      sortColumn: 'created_at',
      sortOrder: 'desc',
    })
  )
  assert.deepEqual(found.map((bucket) => bucket.id), [name])
  const { client } = await signUp()
  assert.deepEqual(ok(await client.storage.listBuckets({ search: name })), [])
})

test('updateBucket changes what it is given', async () => {
  const name = await makeBucket({ public: false, fileSizeLimit: 10 })
  const answer = ok(
    await service.storage.updateBucket(name, {
      public: true,
      fileSizeLimit: null,
      allowedMimeTypes: ['image/*'],
    })
  )
  assert.equal(answer.message, 'Successfully updated')
  const bucket = ok(await service.storage.getBucket(name))
  assert.equal(bucket.public, true)
  assert.equal(bucket.file_size_limit, null)
  assert.deepEqual(bucket.allowed_mime_types, ['image/*'])
  refused(await service.storage.updateBucket(MISSING, { public: true }), 404)
})

test('deleteBucket wants an empty bucket, emptyBucket makes one', async () => {
  const name = await makeBucket()
  ok(await service.storage.from(name).upload('a/b.txt', 'x'))
  refused(await service.storage.deleteBucket(name), 409)
  ok(await service.storage.emptyBucket(name))
  assert.deepEqual(ok(await service.storage.from(name).list()), [])
  assert.equal(ok(await service.storage.deleteBucket(name)).message, 'Successfully deleted')
  refused(await service.storage.getBucket(name), 404)
  refused(await service.storage.emptyBucket(name), 404)
  refused(await service.storage.deleteBucket(name), 404)
})

test('bucket lifecycle is a feature that is off', async () => {
  const name = await makeBucket()
  refused(await service.storage.getBucketLifecycle(name), 409, 'FeatureNotEnabled')
  refused(await service.storage.updateBucketLifecycle(name, { rules: [] }), 409, 'FeatureNotEnabled')
  refused(await service.storage.deleteBucketLifecycle(name), 409, 'FeatureNotEnabled')
})

test('purgeBucketCache and purgeCache are for the service role', async () => {
  const name = await makeBucket()
  ok(await service.storage.from(name).upload('a.txt', 'x'))
  assert.equal(ok(await service.storage.purgeBucketCache(name)).message, 'success')
  assert.equal(ok(await service.storage.from(name).purgeCache('a.txt')).message, 'success')
  refused(await service.storage.from(name).purgeCache('b.txt'), 404)
  const { client } = await signUp()
  refused(await client.storage.purgeBucketCache(name), 403)
})

test('analytics and vector buckets are features that are off', async () => {
  const { analytics, vectors } = service.storage
  const vector = { key: 'k', data: { float32: [1] } }
  const answers = [
    await analytics.createBucket('a'),
    await analytics.listBuckets(),
    await analytics.deleteBucket('a'),
    await vectors.createBucket('v'),
    await vectors.getBucket('v'),
    await vectors.listBuckets(),
    await vectors.deleteBucket('v'),
    await vectors.from('v').createIndex({ indexName: 'i', dataType: 'float32', dimension: 1, distanceMetric: 'cosine' }),
    await vectors.from('v').getIndex('i'),
    await vectors.from('v').listIndexes(),
    await vectors.from('v').deleteIndex('i'),
    await vectors.from('v').index('i').putVectors({ vectors: [vector] }),
    await vectors.from('v').index('i').getVectors({ keys: ['k'] }),
    await vectors.from('v').index('i').listVectors(),
    await vectors.from('v').index('i').queryVectors({ queryVector: { float32: [1] }, topK: 1 }),
    await vectors.from('v').index('i').deleteVectors({ keys: ['k'] }),
  ]
  for (const answer of answers) refused(answer, 409, 'FeatureNotEnabled')
  const catalog = await analytics.from('a').listNamespaces()
  assert.ok(catalog.error)
})
