from django.urls import path

from apps.tenancy.api.views import access_tokens, members, operators, service_accounts, tenants

_TENANT = "tenants/<uuid:tenant_id>"
_OPERATOR = "operators/<uuid:operator_id>"

urlpatterns = [
    path("tenants", tenants.TenantsView.as_view(), name="manage_tenants"),
    path(_TENANT, tenants.TenantView.as_view(), name="manage_tenant"),
    path(f"{_TENANT}/restore", tenants.TenantRestoreView.as_view(), name="manage_tenant_restore"),
    path(f"{_TENANT}/break-glass", members.BreakGlassView.as_view(), name="manage_break_glass"),
    path(f"{_TENANT}/members", members.TenantMembersView.as_view(), name="manage_tenant_members"),
    path(
        f"{_TENANT}/members/<uuid:member_id>",
        members.TenantMemberView.as_view(),
        name="manage_tenant_member",
    ),
    path(
        f"{_TENANT}/service-accounts",
        service_accounts.ServiceAccountsView.as_view(),
        name="manage_service_accounts",
    ),
    path(
        f"{_TENANT}/service-accounts/<uuid:account_id>",
        service_accounts.ServiceAccountView.as_view(),
        name="manage_service_account",
    ),
    path("access-tokens", access_tokens.AccessTokensView.as_view(), name="manage_access_tokens"),
    path(
        "access-tokens/<uuid:token_id>", access_tokens.AccessTokenView.as_view(), name="manage_access_token"
    ),
    path("operators", operators.OperatorsView.as_view(), name="manage_operators"),
    path(_OPERATOR, operators.OperatorView.as_view(), name="manage_operator"),
    path(
        f"{_OPERATOR}/deactivate",
        operators.OperatorDeactivateView.as_view(),
        name="manage_deactivate_operator",
    ),
    path(
        f"{_OPERATOR}/reactivate",
        operators.OperatorReactivateView.as_view(),
        name="manage_reactivate_operator",
    ),
]
