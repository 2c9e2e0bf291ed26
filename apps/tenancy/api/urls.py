from django.urls import path

from apps.tenancy.api import views

urlpatterns = [
    path("tenants", views.TenantsView.as_view(), name="manage_tenants"),
    path("tenants/<uuid:tenant_id>", views.TenantView.as_view(), name="manage_tenant"),
    path("tenants/<uuid:tenant_id>/members", views.TenantMembersView.as_view(), name="manage_tenant_members"),
    path(
        "tenants/<uuid:tenant_id>/service-accounts",
        views.ServiceAccountsView.as_view(),
        name="manage_service_accounts",
    ),
    path(
        "tenants/<uuid:tenant_id>/service-accounts/<uuid:account_id>",
        views.ServiceAccountView.as_view(),
        name="manage_service_account",
    ),
    path("access-tokens", views.AccessTokensView.as_view(), name="manage_access_tokens"),
    path("access-tokens/<uuid:token_id>", views.AccessTokenView.as_view(), name="manage_access_token"),
]
