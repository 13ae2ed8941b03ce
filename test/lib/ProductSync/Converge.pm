# What must hold at the end of a random test of a shop: both sides agree wherever nothing waits for a person, no edit by a person is lost,
# running again changes nothing, and versions tell it all.
#   ProductSync::Converge->new(sql => sub { ... }, shop => $shop, world => $world, pusher => $pusher, again => sub { ... })->check
package ProductSync::Converge;
use strict;
use warnings;
use JSON::PP;
use Test::More;
use ProductSync::Pusher;
use ProductSync::World;

my $json = JSON::PP->new->canonical->allow_nonref->ascii;

sub new { my ($class, %option) = @_; return bless {%option}, $class }

sub check
{
	my ($self) = @_;
	$self->settles;
	$self->takes_down;
	$self->agrees;
	$self->loses_nothing;
	$self->rests;
	$self->tells;
}

# All that is known of a field, in its order.
sub field_story
{
	my ($self, $product, $path) = @_;
	return "product $product, $path:\n" . $self->{sql}->(<<"END") . "\n";
WITH story (at, told) AS (
	SELECT e.at, format('#%s %s sets %s over %s', e.no, e.who, e.value, e.over) FROM public.edit e WHERE e.product_id = $product AND e.path = '$path'
	UNION ALL SELECT c.at, format('version %s: %s to %s, %s %s %s', c.version, c.old_value, c.new_value, c.kind, c.source, c.actor)
	FROM sync.product_change c WHERE c.product_id = $product AND c.path = '$path'
	UNION ALL SELECT g.decided_at, format('decision: base %s, here %s, shop %s: %s %s by %s', g.base_value, g.local_value, g.shopify_value, g.outcome, g.value, g.rule)
	FROM sync.decision_log g WHERE g.product_id = $product AND g.path = '$path'
	UNION ALL SELECT c.created_at, format('conflict %s: here %s, shop %s, %s %s', c.state, c.local_value, c.shopify_value, c.choice, c.custom_value)
	FROM sync.conflict c WHERE c.product_id = $product AND c.path = '$path'
	UNION ALL SELECT coalesce(n.agreed_at, n.erp_seen_at), format('stock: here %s, agreed %s at %s, erp %s at %s, sent %s', n.local, n.base, n.agreed_at, n.erp, n.erp_seen_at, n.sent)
	FROM sync.stock_level n JOIN sync.variant v ON v.id = n.variant_id WHERE v.product_id = $product AND sync.stock_path(v.sku, n.location_id) = '$path'
	UNION ALL SELECT s.seen_at, format('mirror of stock: %s at %s', s.available, s.remote_updated_at)
	FROM sync.shopify_stock s JOIN sync.listing l ON l.connection = s.connection AND l.inventory_item_id = s.inventory_item_id
	JOIN sync.variant v ON v.id = l.variant_id WHERE v.product_id = $product AND sync.stock_path(v.sku, s.location_id) = '$path'
	UNION ALL SELECT x.seen_at, format('ERP: %s', x.available) FROM sync.xorosoft_stock x WHERE '$path' LIKE 'variants[' || x.item_number || '].stock%'
	UNION ALL SELECT l.created_at, 'lock ' || l.path || ' ' || l.kind FROM sync.field_lock l WHERE l.product_id = $product AND '$path' LIKE sync.path_pattern(l.path))
SELECT string_agg(to_char(at, 'MI:SS.MS ') || told, E'\\n' ORDER BY at) FROM story
END
}

sub settles
{
	my ($self) = @_;
	my ($pusher) = @$self{qw(pusher)};

	for (1 .. 10)
	{
		$self->{settle}->();
		last unless $pusher->push;
	}
	is(scalar(keys %{ $pusher->outbox }), 0, 'in the end nothing is left to be sent') or diag $json->encode($pusher->outbox);
	$self->{settle}->();
}

# What the shop has now, as documents with our SKUs, and what people did.
sub takes_down
{
	my ($self) = @_;
	my ($shop, $world) = @$self{qw(shop world)};

	$self->{sql}->('CREATE TABLE public.shop_now (remote_id bigint, document jsonb); CREATE TABLE public.edit (no integer, who text, product_id bigint, path text, value jsonb, over jsonb, at timestamptz)'
		. '; CREATE TABLE public.stock_now (remote_id bigint, sku text, location_id bigint, available numeric)');
	my $all = $shop->all;
	for my $remote (sort { $a <=> $b } keys %$all)
	{
		my $document = ProductSync::World::by_sku($all->{$remote});
		$self->{sql}->("INSERT INTO public.shop_now VALUES ($remote, " . ProductSync::Pusher::literal($document) . ')');
		$self->{sql}->("INSERT INTO public.stock_now VALUES ($remote, '$_', $world->{location}, " . ($shop->stock_known($remote, $_, $world->{location}) // 'NULL') . ')') for sort keys %{ $document->{variants} };
	}
	my $no = 0;
	my $edits = $json->encode([ map { { %$_, no => ++$no } } @{ $world->{edits} } ]);
	$self->{sql}->(<<"END");
INSERT INTO public.edit
SELECT (e ->> 'no')::integer, e ->> 'who', CASE e ->> 'who' WHEN 'hand' THEN (e ->> 'key')::bigint
	   WHEN 'merchant' THEN (SELECT l.product_id FROM sync.product_listing l WHERE l.remote_id = (e ->> 'key')::bigint)
	   ELSE (SELECT v.product_id FROM sync.variant v WHERE v.sku = e ->> 'key') END,
	   e ->> 'path', nullif(e -> 'value', 'null'), nullif(e -> 'over', 'null'), to_timestamp((e ->> 'at')::float8)
FROM jsonb_array_elements(\$j\$$edits\$j\$) e;
END
}

# Whether somebody has a reason to leave a field as it is: it waits for a person, or is locked or frozen.
sub agrees
{
	my ($self) = @_;

	$self->{sql}->(<<'END');
CREATE FUNCTION public.waits(of_product bigint, of_path text) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT EXISTS (SELECT FROM sync.conflict c WHERE c.product_id = of_product AND c.path = of_path AND c.state IN ('open', 'resolved'))
		OR EXISTS (SELECT FROM sync.field_lock l WHERE l.product_id = of_product AND of_path LIKE sync.path_pattern(l.path))
		OR EXISTS (SELECT FROM sync.staging s JOIN sync.staging_field f ON f.staging_id = s.id
				   WHERE s.product_id = of_product AND (s.state = 'open' OR f.decision = 'rejected' AND s.connection = 'shop') AND (f.path = of_path OR starts_with(of_path, f.path || '.')))
$$;
END
	my $apart = $self->{sql}->(<<'END');
SELECT format('product %s (%s) %s: %s here, %s in the shop, %s agreed', l.product_id, n.remote_id, d.path, d.local_value, d.shop_value,
	coalesce(sync.document_get(l.base, d.path), (SELECT sync.document_get(jsonb_build_object('variants', jsonb_object_agg(v.sku, i.base)), d.path) FROM sync.listing i JOIN sync.variant v ON v.id = i.variant_id WHERE i.product_listing_id = l.id)))
FROM public.shop_now n JOIN sync.product_listing l ON l.remote_id = n.remote_id
CROSS JOIN LATERAL sync.document_merge(NULL, NULL, sync.product_document(l.product_id), n.document) d
WHERE d.status <> 'converged' AND NOT public.waits(l.product_id, d.path)
ORDER BY 1
END
	is($apart, '', 'both sides agree on every field that waits for nobody');
	is($self->{sql}->('SELECT remote_id FROM public.shop_now n WHERE NOT EXISTS (SELECT FROM sync.product_listing l WHERE l.remote_id = n.remote_id)'
		. " AND NOT EXISTS (SELECT FROM sync.staging s WHERE s.connection = 'shop' AND s.evidence ->> 'remote_id' = n.remote_id::text AND s.state IN ('open', 'rejected'))"),
		'', 'and every product of the shop is one of the catalogue, or waits for a person');
	my $uneven = $self->{sql}->(<<'END');
SELECT format('%s at %s: %s here, %s in the shop, %s agreed, erp %s', n.sku, n.location_id, k.local, n.available, k.base, k.erp)
FROM public.stock_now n JOIN sync.variant v ON v.sku = n.sku
LEFT JOIN sync.stock_level k ON k.variant_id = v.id AND k.location_id = n.location_id
WHERE (k.local IS DISTINCT FROM n.available OR k.base IS DISTINCT FROM n.available) AND NOT public.waits(v.product_id, sync.stock_path(v.sku, n.location_id))
END
	is($uneven, '', 'and on all stock');
}

# The last edit of each person of a field: it is there, or somebody changed it later, or it was weighed in a decision.
sub loses_nothing
{
	my ($self) = @_;

	my $lost = $self->{sql}->(<<'END');
WITH last AS (
	SELECT DISTINCT ON (e.who, e.product_id, e.path) e.* FROM public.edit e WHERE e.product_id IS NOT NULL AND e.who <> 'erp' ORDER BY e.who, e.product_id, e.path, e.no DESC)
SELECT format('#%s %s of product %s: %s := %s (was %s) at %s; now %s', e.no, e.who, e.product_id, e.path, e.value, e.over, e.at::time(3), n.value)
FROM last e
CROSS JOIN LATERAL (SELECT CASE WHEN e.path LIKE '%.stock[%' THEN (SELECT to_jsonb(k.local) FROM sync.stock_level k JOIN sync.variant v ON v.id = k.variant_id WHERE sync.stock_path(v.sku, k.location_id) = e.path)
							  ELSE sync.document_get(sync.product_document(e.product_id), e.path) END AS value) n
WHERE NOT sync.value_equal(e.path, e.value, n.value)
  -- What was changed in the shop and then deleted there.
  AND NOT (e.path LIKE 'variants[%' AND NOT EXISTS (SELECT FROM public.shop_now w JOIN sync.product_listing l ON l.remote_id = w.remote_id
				   WHERE l.product_id = e.product_id AND w.document -> 'variants' ? substring(e.path FROM '^variants.([^]]*)')))
  AND NOT (e.who = 'merchant' AND EXISTS (SELECT FROM sync.product_listing l WHERE l.product_id = e.product_id AND l.remote_id NOT IN (SELECT remote_id FROM public.shop_now)))
  -- Another person changed it afterwards, seeing this value, or the ERP did.
  AND NOT EXISTS (SELECT FROM public.edit o WHERE o.product_id = e.product_id AND o.path = e.path AND o.no > e.no
				  AND (o.who = 'erp' OR sync.value_equal(e.path, o.over, e.value) OR sync.value_equal(e.path, o.value, e.value)))
  -- It put back what both had agreed on, after the other side had changed that, unseen: the net change is none.
  AND NOT EXISTS (SELECT FROM public.edit o WHERE o.product_id = e.product_id AND o.path = e.path AND o.who <> e.who AND o.no < e.no AND sync.value_equal(e.path, o.over, e.value)
				  AND NOT EXISTS (SELECT FROM public.edit q JOIN public.edit m ON m.product_id = e.product_id AND m.path = e.path AND m.who <> e.who AND m.no BETWEEN o.no AND q.no
								  WHERE q.product_id = e.product_id AND q.path = e.path AND q.who = e.who AND q.no BETWEEN o.no AND e.no AND sync.value_equal(e.path, q.over, m.value)
									-- What somebody set himself is no sign that he saw the same of the other.
									AND NOT EXISTS (SELECT FROM public.edit x WHERE x.product_id = e.product_id AND x.path = e.path AND x.who = e.who
													AND x.no > m.no AND x.no < q.no AND sync.value_equal(e.path, x.value, q.over))))
  -- The same where it was the feed that had changed it.
  AND NOT EXISTS (SELECT FROM sync.product_change c JOIN sync.connection k ON k.name = c.source AND k.kind = 'etilize'
				  WHERE c.product_id = e.product_id AND c.path = e.path AND c.at < e.at AND sync.value_equal(e.path, c.old_value, e.value)
				  AND NOT EXISTS (SELECT FROM public.edit q WHERE q.product_id = e.product_id AND q.path = e.path AND q.who = e.who AND q.no <= e.no
								  AND q.at > c.at AND sync.value_equal(e.path, q.over, c.new_value)))
  -- The ERP counted before but was read afterwards.
  AND NOT EXISTS (SELECT FROM public.edit o JOIN sync.variant v ON v.product_id = o.product_id JOIN sync.stock_level k ON k.variant_id = v.id AND sync.stock_path(v.sku, k.location_id) = o.path
				  WHERE o.product_id = e.product_id AND o.path = e.path AND o.who = 'erp' AND o.value = n.value AND k.erp = k.local AND k.agreed_at > e.at)
  -- The feed, a rollback, or a person who approved what the shop did.
  AND NOT EXISTS (SELECT FROM sync.product_change c
				  WHERE c.product_id = e.product_id AND c.path = e.path AND c.at > e.at AND (c.source <> 'shop' OR c.actor <> 'product_sync') AND c.kind <> 'manual')
  AND NOT EXISTS (SELECT FROM sync.decision_log g WHERE g.product_id = e.product_id AND g.path = e.path AND g.decided_at > e.at
				  AND (sync.value_equal(e.path, g.local_value, e.value) OR sync.value_equal(e.path, g.shopify_value, e.value)))
  AND NOT EXISTS (SELECT FROM sync.conflict c WHERE c.product_id = e.product_id AND c.path = e.path AND c.state IN ('open', 'resolved', 'applied')
				  AND (sync.value_equal(e.path, c.local_value, e.value) OR sync.value_equal(e.path, c.shopify_value, e.value)))
ORDER BY e.no
END
	is($lost, '', 'no edit by a person is lost') or diag map { /of product (\d+): (\S+) :=/ ? $self->field_story($1, $2) : () } split /\n/, $lost;
}

sub rests
{
	my ($self) = @_;
	my ($shop, $pusher) = @$self{qw(shop pusher)};

	my $state = "SELECT concat_ws(' ', (SELECT count(*) FROM sync.product_version), (SELECT count(*) FROM sync.staging), (SELECT count(*) FROM sync.decision_log),"
		. " (SELECT md5(string_agg(concat_ws('|', id, state, choice), ',' ORDER BY id)) FROM sync.conflict),"
		. " (SELECT md5(string_agg(d.document::text, ',' ORDER BY d.product_id)) FROM sync.product_documents(ARRAY(SELECT id FROM sync.product)) d))";
	my $now = sub { return $self->{sql}->($state) . ' ' . $shop->writes };
	my $before = $now->();
	$self->{again} ? $self->{again}->() : $self->{settle}->();
	$pusher->push;
	is($now->(), $before, 'running again changes nothing');

	is($self->{sql}->('SELECT product_id FROM sync.product_version GROUP BY product_id HAVING count(*) <> max(version) OR min(version) <> 1'), '', 'versions have no gaps');
	is($self->{sql}->('SELECT p.id FROM sync.product p WHERE sync_as_of(p.id, now()) IS DISTINCT FROM sync.product_document(p.id)'), '', 'and the newest is what the catalogue has');
}

# The numbers.
sub tells
{
	my ($self) = @_;
	my ($world, $pusher) = @$self{qw(world pusher)};

	$world->{counts}{$_} = $pusher->{$_} for qw(sent lost stale);
	note sprintf "seed %s, %.1f s: %d edits in all", $world->{seed}, time - $^T, scalar @{ $world->{edits} };
	note join ', ', map { "$_ $world->{counts}{$_}" } sort keys %{ $world->{counts} };
	note $self->{sql}->("SELECT 'conflicts ' || string_agg(state || ' ' || n, ', ' ORDER BY state) FROM (SELECT state, count(*) AS n FROM sync.conflict GROUP BY state) c");
	note $self->{sql}->("SELECT 'decisions ' || string_agg(rule || ' ' || outcome || ' ' || n, ', ' ORDER BY rule) FROM (SELECT rule, outcome, count(*) AS n FROM sync.decision_log GROUP BY rule, outcome) c");
	note $self->{sql}->("SELECT format('%s versions of %s products, %s frozen', (SELECT count(*) FROM sync.product_version), (SELECT count(*) FROM sync.product), (SELECT count(*) FROM sync.field_lock WHERE kind = 'freeze'))");
}

1;
